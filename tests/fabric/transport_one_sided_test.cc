// One-sided access, over every transport that has it: what is copied, and how copies end. What
// devices enforce is in verbs/one_sided_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "fabric/test_engine.h"
#include "godwit/fabric/one_sided.h"

namespace godwit::fabric::testing {
namespace {

class OneSided : public ::testing::TestWithParam<TransportFactory> {
 protected:
  TransportFactory factory = GetParam();
};

/// Two engines and an established connection between them. `memory` is b's, and a copies.
struct Pair {
  explicit Pair(TransportFactory& factory, std::size_t size = 3 << 20)
      : a(factory), b(factory), memory(size) {
    TestEngine::fill(memory, 3);
    before = memory;
    auto dialed = a.transport().connect(b.address(), kDc);
    EXPECT_TRUE(dialed.has_value());
    if (!dialed) return;
    EXPECT_TRUE(pump_until([&] { return !a.established.empty() && !b.established.empty(); }, a, b));
    if (a.established.empty() || b.established.empty()) return;
    to_b = a.established[0];
    to_a = b.established[0];
  }
  bool up() const { return to_a != nullptr; }
  bool possible() const { return to_b->one_sided_from() != Connection::kNever; }

  std::unique_ptr<Exposure> expose(std::size_t offset, std::size_t size, Access access) {
    auto made = to_a->expose(std::span(memory).subspan(offset, size), access);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    return made ? std::move(*made) : nullptr;
  }
  /// Copies by a; true if that went well.
  bool copy(OneSidedCopy& asked) {
    to_b->start(asked);
    return pump_until([&] { return !asked.under_way(); }, a, b) && !asked.error;
  }
  bool untouched() const { return memory == before; }

  TestEngine a, b;
  Connection* to_b = nullptr;  // a's
  Connection* to_a = nullptr;  // b's
  std::vector<std::byte> memory, before;
};

bool post_all(Pair& pair, TestEngine& from, Connection& connection, std::uint32_t size,
              std::uint32_t tag) {
  FramePtr frame = from.make_frame(size, tag);
  return pump_until([&] { return connection.post(frame) == SendStatus::sent; }, pair.a, pair.b);
}

OneSidedCopy copy_of(const Exposure& exposure, std::span<std::byte> local, Access access) {
  OneSidedCopy copy;
  copy.remote = exposure.where();
  copy.local = local;
  copy.access = access;
  return copy;
}

TEST_P(OneSided, CopiesTouchWhatTheyShallAndNothingElse) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  if (!pair.possible()) GTEST_SKIP() << factory.name << " has no one-sided access";
  std::vector<std::byte> local(pair.memory.size());
  std::uint64_t fetched = 0, written = 0;
  std::uint32_t tag = 0;
  for (const std::size_t size : {1ul, 7ul, 4096ul, 65'537ul, 300'001ul, 1ul << 20, 2'500'003ul}) {
    const std::size_t offset = 1 + 37 * ++tag;
    std::size_t done = 0;
    while (done < size) {  // as much as the owner has room for at once
      auto open = pair.expose(offset + done, size - done, Access::read);
      ASSERT_NE(open, nullptr);
      ASSERT_LE(open->size(), size - done);
      const auto part = std::span(local).subspan(done, open->size());
      OneSidedCopy read = copy_of(*open, part, Access::read);
      ASSERT_TRUE(pair.copy(read)) << size << " " << read.error->to_string();
      EXPECT_EQ(read.completed, part.size());
      done += part.size();
    }
    ASSERT_TRUE(std::equal(local.begin(), local.begin() + static_cast<std::ptrdiff_t>(size),
                           pair.memory.begin() + static_cast<std::ptrdiff_t>(offset)));
    ASSERT_TRUE(pair.untouched());
    fetched += size;

    TestEngine::fill(std::span(local).first(size), 100 + tag);
    for (done = 0; done < size;) {
      auto open = pair.expose(offset + done, size - done, Access::write);
      ASSERT_NE(open, nullptr);
      const auto part = std::span(local).subspan(done, open->size());
      OneSidedCopy write = copy_of(*open, part, Access::write);
      ASSERT_TRUE(pair.copy(write)) << size << " " << write.error->to_string();
      done += part.size();
    }
    std::copy_n(local.begin(), size, pair.before.begin() + static_cast<std::ptrdiff_t>(offset));
    ASSERT_TRUE(pair.untouched()) << size;
    written += size;
  }
  EXPECT_EQ(pair.to_b->counters().bytes_fetched, fetched);
  EXPECT_EQ(pair.to_b->counters().bytes_written, written);
  EXPECT_EQ(pair.to_a->counters().bytes_written, 0u);
  EXPECT_TRUE(pair.a.closed.empty());
}

TEST_P(OneSided, CopiesAndFramesShareTheConnection) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  if (!pair.possible()) GTEST_SKIP() << factory.name << " has no one-sided access";
  auto readable = pair.expose(0, 1 << 20, Access::read);
  auto writable = pair.expose(1 << 20, 1 << 20, Access::write);
  ASSERT_TRUE(readable != nullptr && writable != nullptr);
  std::vector<std::byte> in(readable->size()), out(writable->size());
  TestEngine::fill(out, 77);
  OneSidedCopy read = copy_of(*readable, in, Access::read);
  OneSidedCopy write = copy_of(*writable, out, Access::write);
  pair.to_b->start(read);
  pair.to_b->start(write);
  constexpr std::uint32_t kFrames = 60;
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    const std::uint32_t size = i % 5 == 4 ? 100'000 : 64;
    ASSERT_TRUE(post_all(pair, pair.a, *pair.to_b, size, i));
    ASSERT_TRUE(post_all(pair, pair.b, *pair.to_a, size, i));
  }
  ASSERT_TRUE(pump_until(
      [&] {
        return !read.under_way() && !write.under_way() && pair.a.received.size() == kFrames &&
               pair.b.received.size() == kFrames;
      },
      pair.a, pair.b));
  EXPECT_FALSE(read.error || write.error);
  EXPECT_TRUE(std::equal(in.begin(), in.end(), pair.memory.begin()));
  EXPECT_TRUE(std::equal(out.begin(), out.end(), pair.memory.begin() + (1 << 20)));
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    ASSERT_EQ(pair.b.received[i].header.upper[0], i);
    ASSERT_TRUE(TestEngine::has_pattern(pair.b.received[i].payload, i));
  }
}

TEST_P(OneSided, ACopyEndsWithItsConnection) {
  for (const bool owner_closes : {true, false}) {
    Pair pair(factory);
    ASSERT_TRUE(pair.up());
    if (!pair.possible()) GTEST_SKIP() << factory.name << " has no one-sided access";
    auto open = pair.expose(0, pair.memory.size(), Access::write);
    ASSERT_NE(open, nullptr);
    std::vector<std::byte> local(open->size());
    TestEngine::fill(local, 50);
    OneSidedCopy write = copy_of(*open, local, Access::write);
    pair.to_b->start(write);
    (owner_closes ? *pair.to_a : *pair.to_b).close({Errc::closed, "enough", {}});
    TestEngine& closer = owner_closes ? pair.b : pair.a;
    ASSERT_TRUE(pump_until([&] { return !closer.closed.empty(); }, closer));
    // What the owner has after the end of its connection stays as it is.
    const bool shut_out = owner_closes && open->close();
    const std::vector<std::byte> after = pair.memory;
    ASSERT_TRUE(pump_until(
        [&] { return !pair.a.closed.empty() && !pair.b.closed.empty() && !write.under_way(); },
        pair.a, pair.b));
    if (shut_out) {
      EXPECT_EQ(pair.memory, after);
    }
    // What is said to be certain is there.
    EXPECT_TRUE(std::equal(local.begin(),
                           local.begin() + static_cast<std::ptrdiff_t>(write.completed),
                           pair.memory.begin()));
    EXPECT_TRUE(std::equal(pair.memory.begin() + static_cast<std::ptrdiff_t>(open->size()),
                           pair.memory.end(),
                           pair.before.begin() + static_cast<std::ptrdiff_t>(open->size())));
  }
}

TEST_P(OneSided, ACopyThatIsGivenUpEnds) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  if (!pair.possible()) GTEST_SKIP() << factory.name << " has no one-sided access";
  auto open = pair.expose(0, pair.memory.size(), Access::read);
  ASSERT_NE(open, nullptr);
  std::vector<std::byte> local(open->size());
  OneSidedCopy read = copy_of(*open, local, Access::read);
  pair.to_b->start(read);
  pair.to_b->give_up(read);
  ASSERT_TRUE(pump_until([&] { return !read.under_way(); }, pair.a, pair.b));
  EXPECT_TRUE(std::equal(local.begin(), local.begin() + static_cast<std::ptrdiff_t>(read.completed),
                         pair.memory.begin()));
  // The connection is as good as before.
  OneSidedCopy again = copy_of(*open, local, Access::read);
  ASSERT_TRUE(pair.copy(again));
  EXPECT_TRUE(std::equal(local.begin(), local.end(), pair.memory.begin()));
}

TEST_P(OneSided, WhatIsTakenBackCanBeExposedAgain) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  if (!pair.possible()) GTEST_SKIP() << factory.name << " has no one-sided access";
  std::vector<std::byte> local(100'000, std::byte{0x77});
  for (int round = 0; round < 3; ++round) {
    auto open = pair.expose(0, local.size(), Access::write);
    ASSERT_NE(open, nullptr);
    OneSidedCopy write = copy_of(*open, local, Access::write);
    ASSERT_TRUE(pair.copy(write)) << write.error->to_string();
    EXPECT_TRUE(open->close());
  }
  EXPECT_TRUE(pair.a.closed.empty() && pair.b.closed.empty());
}

TEST_P(OneSided, NothingLandsOnceTheMemoryIsTakenBack) {
  for (std::size_t round = 0; round < 10; ++round) {
    Pair pair(factory, 24 << 20);
    ASSERT_TRUE(pair.up());
    if (!pair.possible()) GTEST_SKIP() << factory.name << " has no one-sided access";
    auto open = pair.expose(0, pair.memory.size(), Access::write);
    ASSERT_NE(open, nullptr);
    std::vector<std::byte> local(open->size(), std::byte{0x77});
    std::fill(pair.memory.begin(), pair.memory.end(), std::byte{0});
    // One copy after the other, until one is refused.
    std::jthread requester([&] {
      while (true) {
        OneSidedCopy write = copy_of(*open, local, Access::write);
        pair.to_b->start(write);
        if (!pump_until([&] { return !write.under_way(); }, pair.a) || write.error) return;
      }
    });
    const volatile std::byte& mark = pair.memory[open->size() / 10 * round];
    while (mark == std::byte{0}) std::this_thread::yield();
    while (!open->close()) std::this_thread::yield();
    // What a copy comes to last, so that one that is under way is still to come there.
    const auto end = std::span(pair.memory).subspan(open->size() - 4096, 4096);
    std::fill(end.begin(), end.end(), std::byte{0x5a});
    requester.join();
    EXPECT_EQ(std::count(end.begin(), end.end(), std::byte{0x5a}), 4096) << "round " << round;
    EXPECT_TRUE(pump_until([&] { return !pair.a.closed.empty(); }, pair.a, pair.b));
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, OneSided, ::testing::ValuesIn(transport_factories()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace godwit::fabric::testing
