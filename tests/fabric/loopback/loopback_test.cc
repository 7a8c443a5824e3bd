#include "godwit/fabric/loopback.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "fabric/test_engine.h"

namespace godwit::fabric {
namespace {

using testing::kDc;
using testing::TestEngine;
using testing::TransportFactory;

constexpr std::uint32_t kFrames = 500;

/// Two engines joined through a hub of their own.
struct Joined {
  explicit Joined(const LoopbackFaults& faults, std::uint64_t seed = 1)
      : hub(seed, faults),
        factory{"loopback",
                [this](TransportContext& context, const std::optional<Handshake::Offer>&) {
                  return hub.make_transport(context);
                },
                false},
        a(factory),
        b(factory) {}

  bool connect() {
    return a.transport().connect(b.address(), kDc).has_value() &&
           testing::pump_until([&] { return !a.established.empty() || !a.closed.empty(); }, a, b) &&
           !a.established.empty();
  }

  /// Sends numbered frames and lets everything settle; the numbers that arrived, in order.
  std::vector<std::uint32_t> run() {
    for (std::uint32_t i = 0; i < kFrames; ++i) {
      FramePtr frame = a.make_frame(40, i);
      SendStatus status = SendStatus::would_block;
      while ((status = a.established[0]->post(frame)) == SendStatus::would_block) b.step();
      if (status == SendStatus::closed) break;
      if (i % 10 == 0) b.step();
    }
    for (std::uint32_t i = 0; i < 2000; ++i) {
      a.step();
      b.step();
    }
    std::vector<std::uint32_t> numbers;
    for (const auto& received : b.received) {
      EXPECT_TRUE(TestEngine::has_pattern(received.payload, received.header.upper[0]));
      numbers.push_back(received.header.upper[0]);
    }
    return numbers;
  }

  LoopbackHub hub;
  TransportFactory factory;
  TestEngine a, b;
};

TEST(Loopback, WithoutFaultsAllArriveInOrder) {
  Joined joined({});
  ASSERT_TRUE(joined.connect());
  const auto numbers = joined.run();
  EXPECT_EQ(numbers.size(), kFrames);
  EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
}

TEST(Loopback, DropsAboutAsManyAsAsked) {
  Joined joined({.drop = 0.2});
  ASSERT_TRUE(joined.connect());
  const auto numbers = joined.run();
  EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
  EXPECT_NEAR(static_cast<double>(numbers.size()), 0.8 * kFrames, 0.1 * kFrames);
}

TEST(Loopback, Duplicates) {
  Joined joined({.duplicate = 0.2});
  ASSERT_TRUE(joined.connect());
  const auto numbers = joined.run();
  EXPECT_NEAR(static_cast<double>(numbers.size()), 1.2 * kFrames, 0.1 * kFrames);
  EXPECT_EQ(std::set(numbers.begin(), numbers.end()).size(), kFrames);
}

TEST(Loopback, Reorders) {
  Joined joined({.reorder = 0.2});
  ASSERT_TRUE(joined.connect());
  auto numbers = joined.run();
  EXPECT_FALSE(std::is_sorted(numbers.begin(), numbers.end()));
  std::sort(numbers.begin(), numbers.end());
  EXPECT_EQ(numbers.size(), kFrames);
  EXPECT_EQ(std::adjacent_find(numbers.begin(), numbers.end()), numbers.end());
}

TEST(Loopback, DelaysKeepOrderAndLoseNothing) {
  Joined joined({.delay = 0.5, .max_delay = 20, .would_block = 0.1});
  ASSERT_TRUE(joined.connect());
  const auto numbers = joined.run();
  EXPECT_EQ(numbers.size(), kFrames);
  EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
}

TEST(Loopback, ARefusedSenderIsToldOfRoom) {
  Joined joined({.would_block = 1});
  ASSERT_TRUE(joined.connect());
  FramePtr frame = joined.a.make_frame(8);
  ASSERT_EQ(joined.a.established[0]->post(frame), SendStatus::would_block);
  ASSERT_NE(frame, nullptr);
  joined.hub.set_faults({});
  ASSERT_TRUE(testing::pump_until([&] { return !joined.a.writable.empty(); }, joined.a, joined.b));
  EXPECT_EQ(joined.a.established[0]->post(frame), SendStatus::sent);
}

TEST(Loopback, RefusesToConnect) {
  Joined joined({.refuse_connect = 1});
  EXPECT_FALSE(joined.connect());
  ASSERT_EQ(joined.a.closed.size(), 1u);
  EXPECT_EQ(joined.a.closed[0].reason.code, Errc::unreachable);
  EXPECT_TRUE(joined.b.closed.empty());
}

TEST(Loopback, CutsAtTheChosenFrameAndLosesOnlyTheLastOnes) {
  std::set<std::size_t> arrived;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Joined joined({.cut_after = 100}, seed);
    ASSERT_TRUE(joined.connect());
    const auto numbers = joined.run();
    ASSERT_LE(numbers.size(), 100u);
    for (std::uint32_t i = 0; i < numbers.size(); ++i) ASSERT_EQ(numbers[i], i);
    arrived.insert(numbers.size());
    for (const TestEngine* engine : {&joined.a, &joined.b}) {
      ASSERT_EQ(engine->closed.size(), 1u);
      EXPECT_EQ(engine->closed[0].reason.code, Errc::connection_lost);
    }
  }
  EXPECT_GT(arrived.size(), 1u) << "how many are lost is a matter of chance";
}

TEST(Loopback, ACutOnDemandBreaksBothSides) {
  Joined joined({});
  ASSERT_TRUE(joined.connect());
  ASSERT_TRUE(
      testing::pump_until([&] { return !joined.b.established.empty(); }, joined.a, joined.b));
  joined.hub.cut(joined.b.identity().engine, joined.a.identity().engine);
  ASSERT_TRUE(testing::pump_until(
      [&] { return joined.a.closed.size() == 1 && joined.b.closed.size() == 1; }, joined.a,
      joined.b));
}

TEST(Loopback, TheSameSeedGivesTheSameRun) {
  const LoopbackFaults faults{
      .drop = 0.1, .duplicate = 0.1, .reorder = 0.1, .delay = 0.3, .would_block = 0.1};
  const auto run = [&](std::uint64_t seed) {
    Joined joined(faults, seed);
    EXPECT_TRUE(joined.connect());
    return joined.run();
  };
  EXPECT_EQ(run(5), run(5));
  EXPECT_NE(run(5), run(6));
}

}  // namespace
}  // namespace godwit::fabric
