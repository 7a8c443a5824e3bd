// copy_between: what is made for it at the other two endpoints, and what becomes of that.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "endpoints/one_process.h"
#include "godwit/endpoints/image.pb.h"
#include "godwit/relocation.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
using fabric::TransportKind;

/// Keeps the answer to a question where an endpoint is, until it is released.
class HoldingResolver final : public ForwardingResolver {
 public:
  using ForwardingResolver::ForwardingResolver;

  void hold_next(EndpointId id) {
    const std::lock_guard lock(mutex_);
    holds_ = id;
  }
  bool holds_one() {
    const std::lock_guard lock(mutex_);
    return held_.has_value();
  }
  void release() {
    std::optional<Question> question;
    {
      const std::lock_guard lock(mutex_);
      question.swap(held_);
    }
    if (question) inner_->locate(question->id, std::move(question->done));
  }

  void locate(EndpointId id, Done<EndpointPlace> done) override {
    {
      const std::lock_guard lock(mutex_);
      if (id == holds_) {
        holds_.reset();
        held_.emplace(id, std::move(done));
        return;
      }
    }
    inner_->locate(id, std::move(done));
  }

 private:
  struct Question {
    Question(EndpointId of, Done<EndpointPlace> answer) : id(of), done(std::move(answer)) {}
    EndpointId id;
    Done<EndpointPlace> done;
  };
  std::mutex mutex_;
  std::optional<EndpointId> holds_;
  std::optional<Question> held_;
};

class ThirdParty : public ::testing::TestWithParam<TransportKind>, protected OneProcess {
 protected:
  void SetUp() override {
    ProcessOptions options;
    options.force_transport = GetParam();
    auto resolver = std::make_unique<HoldingResolver>(directory_);
    resolver_ = resolver.get();
    start_process(options, std::move(resolver));
  }
  void TearDown() override { stop_process(); }

  /// An endpoint on a thread of its own, with one grant; then it does `then`.
  struct Party {
    Endpoint endpoint;
    GrantRef ref;
  };
  GrantRef start(std::jthread& thread, std::string name, std::span<std::byte> memory, Rights rights,
                 std::function<void(Party&)> then) {
    auto granted = std::make_shared<std::promise<GrantRef>>();
    auto ref = granted->get_future();
    thread = std::jthread([=, this, then = std::move(then)] {
      auto endpoint = process_->bind(name);
      ASSERT_TRUE(endpoint);
      Party party{std::move(*endpoint), {}};
      party.ref = *party.endpoint.grant(memory, {rights, {}});
      granted->set_value(party.ref);
      then(party);
    });
    return ref.get();
  }
  void until_over(Party&) {
    ASSERT_TRUE(reaches([&] { return over_.load(); }));
  }

  /// So that copies need not look for them.
  void greet(const GrantRef& source, const GrantRef& target) {
    std::byte one{};
    ASSERT_TRUE(me_.copy_from(source, 0, std::span(&one, 1), kLong));
    ASSERT_TRUE(me_.copy_from(target, 0, std::span(&one, 1), kLong));
  }

  static int grants_of(const std::string& image) {
    endpoints::proto::EndpointImage parsed;
    EXPECT_TRUE(parsed.ParseFromString(image));
    return parsed.grants_size();
  }

  HoldingResolver* resolver_ = nullptr;
  std::atomic<bool> over_{false};
};

TEST_P(ThirdParty, WhatWasMadeForACopyEndsWithIt) {
  std::vector<std::byte> from(100'000, std::byte{7}), to(from.size());
  std::jthread source_thread, target_thread;
  std::atomic<bool> copied{false};
  const GrantRef source = start(source_thread, "demo/source", from, Rights::read,
                                [&](Party& party) { until_over(party); });
  const GrantRef target =
      start(target_thread, "demo/target", to, Rights::read_write, [&](Party& party) {
        ASSERT_TRUE(reaches([&] { return copied.load(); }));
        Relocation::shut(party.endpoint);
        ASSERT_TRUE(reaches([&] { return Relocation::busy(party.endpoint).empty(); }));
        EXPECT_EQ(grants_of(Relocation::park(party.endpoint)), 1);
      });
  for (int round = 0; round < 20; ++round) {
    // The last ones are refused at the source, when the grant at the target has been made.
    const bool good = round < 15;
    GrantRef of = source;
    if (!good) ++of.key;
    const auto done = me_.copy_between(of, 0, target, 0, from.size(), kLong);
    EXPECT_EQ(done.has_value(), good);
  }
  EXPECT_TRUE(to == from);
  std::byte one{};
  ASSERT_TRUE(me_.copy_from(target, 0, std::span(&one, 1), kLong));  // comes after all of that
  copied = over_ = true;
}

TEST_P(ThirdParty, WhatWasMadeForACopyEndsWithWhoeverAskedForIt) {
  std::vector<std::byte> from(100'000, std::byte{7}), to(from.size());
  std::jthread source_thread, target_thread;
  std::atomic<bool> asked{false}, gone{false};
  EndpointId asker_id;
  const GrantRef source = start(source_thread, "demo/source", from, Rights::read,
                                [&](Party& party) { until_over(party); });
  const GrantRef target =
      start(target_thread, "demo/target", to, Rights::read_write, [&](Party& party) {
        // The asker ends while it cannot tell us anything: nobody listens here.
        ASSERT_TRUE(reaches([&] { return resolver_->holds_one(); }));
        asked = true;
        asked.notify_all();
        gone.wait(false);
        ASSERT_TRUE(reaches([&] { return !party.endpoint.lookup(asker_id, kLong); }));
        Relocation::shut(party.endpoint);
        ASSERT_TRUE(reaches([&] { return Relocation::busy(party.endpoint).empty(); }));
        EXPECT_EQ(grants_of(Relocation::park(party.endpoint)), 1);
      });
  greet(source, target);
  std::stop_source enough;
  std::jthread asker([&] {
    auto endpoint = process_->bind("demo/asker");
    ASSERT_TRUE(endpoint);
    std::byte one{};
    ASSERT_TRUE(endpoint->copy_from(source, 0, std::span(&one, 1), kLong));
    ASSERT_TRUE(endpoint->copy_from(target, 0, std::span(&one, 1), kLong));
    asker_id = endpoint->id();
    resolver_->hold_next(target.owner);
    const auto done =
        endpoint->copy_between(source, 0, target, 0, from.size(), Wait(kLong, enough.get_token()));
    EXPECT_FALSE(done);
    process_->cut_connections();  // before it has given anything back
    *endpoint = Endpoint();
    gone = true;
    gone.notify_all();
  });
  asked.wait(false);
  enough.request_stop();
  asker.join();
  resolver_->release();
  target_thread.join();
  over_ = true;
}

// The third party's copy is a use of the grant, too.
TEST_P(ThirdParty, NothingLandsOnceTheGrantIsRevoked) {
  constexpr int kRounds = 6;
  std::vector<std::byte> from(8 << 20, std::byte{7}), to(from.size());
  std::jthread source_thread, target_thread;
  std::mutex mutex;
  GrantRef target;
  const GrantRef source = start(source_thread, "demo/source", from, Rights::read,
                                [&](Party& party) { until_over(party); });
  target = start(target_thread, "demo/target", to, Rights::write, [&](Party& party) {
    GrantRef ref = party.ref;
    for (int round = 0; round < kRounds; ++round) {
      const volatile std::byte& first = to[0];
      ASSERT_TRUE(reaches([&] { return first != std::byte{0}; }));
      while (!party.endpoint.revoke(ref, std::chrono::milliseconds(round % 3))) {
      }
      std::fill(to.begin(), to.end(), std::byte{0x5a});
      (void)process_->run_until([] { return false; }, 30ms);
      EXPECT_EQ(std::count(to.begin(), to.end(), std::byte{0x5a}),
                static_cast<std::ptrdiff_t>(to.size()))
          << "round " << round;
      std::fill(to.begin(), to.end(), std::byte{0});
      ref = *party.endpoint.grant(std::span(to), {Rights::write, {}});
      const std::lock_guard lock(mutex);
      target = ref;
    }
    over_ = true;
  });
  int refused = 0;
  while (!over_) {
    GrantRef now;
    {
      const std::lock_guard lock(mutex);
      now = target;
    }
    const auto copied = me_.copy_between(source, 0, now, 0, from.size(), kLong);
    if (copied) continue;
    if (over_) break;
    EXPECT_EQ(copied.error().code, Errc::not_found) << copied.error().to_string();
    ++refused;
  }
  EXPECT_GT(refused, 0);
}

// Nothing else shows that it copies: it has no channel yet.
TEST_P(ThirdParty, AnOwnerThatLooksForTheTargetIsBusy) {
  std::vector<std::byte> from(100'000, std::byte{7}), to(from.size());
  std::jthread source_thread, target_thread;
  const GrantRef source =
      start(source_thread, "demo/source", from, Rights::read, [&](Party& party) {
        ASSERT_TRUE(reaches([&] { return resolver_->holds_one(); }));
        Relocation::shut(party.endpoint);
        EXPECT_EQ(Relocation::busy(party.endpoint), "1 copies of its own under way");
        resolver_->release();
        ASSERT_TRUE(reaches([&] { return Relocation::busy(party.endpoint).empty(); }));
        until_over(party);
      });
  const GrantRef target = start(target_thread, "demo/target", to, Rights::read_write,
                                [&](Party& party) { until_over(party); });
  greet(source, target);
  resolver_->hold_next(target.owner);
  const auto copied = me_.copy_between(source, 0, target, 0, from.size(), kLong);
  EXPECT_TRUE(copied) << copied.error().to_string();
  EXPECT_TRUE(to == from);
  over_ = true;
}

TEST_P(ThirdParty, ACopyGoesOnWhereItsTargetHasMovedTo) {
  std::vector<std::byte> from(100'000, std::byte{7}), to(from.size()), behind(from.size());
  std::jthread source_thread, target_thread;
  std::promise<std::string> image;
  const GrantRef source = start(source_thread, "demo/source", from, Rights::read,
                                [&](Party& party) { until_over(party); });
  const GrantRef target =
      start(target_thread, "demo/target", behind, Rights::read_write, [&](Party& party) {
        ASSERT_TRUE(reaches([&] { return resolver_->holds_one(); }));
        Relocation::shut(party.endpoint);
        ASSERT_TRUE(reaches([&] { return Relocation::busy(party.endpoint).empty(); }));
        image.set_value(Relocation::park(party.endpoint));
        Relocation::leave(party.endpoint);
        until_over(party);
      });
  std::jthread new_place([&] {
    auto made = Relocation::install(*process_, image.get_future().get());
    ASSERT_TRUE(made) << made.error().to_string();
    ASSERT_TRUE(made->regrant(target, to));
    const std::uint32_t epoch = Relocation::epoch(*made) + 1;
    directory_->moved(made->id(), epoch, *Relocation::engine_address(*process_));
    Relocation::open(*made, epoch);
    resolver_->release();
    ASSERT_TRUE(reaches([&] { return over_.load(); }));
  });
  greet(source, target);
  resolver_->hold_next(target.owner);
  const auto copied = me_.copy_between(source, 0, target, 0, from.size(), kLong);
  EXPECT_TRUE(copied) << copied.error().to_string();
  EXPECT_TRUE(to == from);
  over_ = true;
}

INSTANTIATE_TEST_SUITE_P(Transports, ThirdParty,
                         ::testing::Values(TransportKind::shm, TransportKind::tcp),
                         [](const auto& kind) { return std::string(to_string(kind.param)); });

}  // namespace
}  // namespace godwit
