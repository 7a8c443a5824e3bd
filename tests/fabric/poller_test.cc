#include "godwit/fabric/poller.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <thread>

namespace godwit::fabric {
namespace {

using namespace std::chrono_literals;

/// A pipe whose reading end is watched.
struct Watched final : PollHandler {
  Watched() { EXPECT_EQ(pipe(ends.data()), 0); }
  ~Watched() {
    close(ends[0]);
    close(ends[1]);
  }
  void on_ready(std::uint32_t events) override {
    ++calls;
    last = events;
    if (then) then();
  }
  void put() const { EXPECT_EQ(write(ends[1], "x", 1), 1); }
  void take() const {
    char byte = 0;
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
  }
  std::array<int, 2> ends{};
  int calls = 0;
  std::uint32_t last = 0;
  std::function<void()> then;
};

TEST(Poller, CallsTheHandlerOfAReadyDescriptor) {
  auto poller = Poller::create().value();
  Watched one, other;
  ASSERT_TRUE(poller->add(one.ends[0], EPOLLIN, one).has_value());
  ASSERT_TRUE(poller->add(other.ends[0], EPOLLIN, other).has_value());
  EXPECT_EQ(poller->dispatch({}), 0u);
  one.put();
  EXPECT_EQ(poller->dispatch(10s), 1u);
  EXPECT_EQ(one.calls, 1);
  EXPECT_EQ(one.last, static_cast<std::uint32_t>(EPOLLIN));
  EXPECT_EQ(other.calls, 0);
  EXPECT_EQ(poller->dispatch({}), 1u) << "level-triggered";
  one.take();
  EXPECT_EQ(poller->dispatch({}), 0u);
  poller->remove(one.ends[0], one);
  one.put();
  EXPECT_EQ(poller->dispatch({}), 0u);
  poller->remove(other.ends[0], other);
}

TEST(Poller, ARemovedHandlerIsNotCalledAnyMore) {
  auto poller = Poller::create().value();
  Watched one, other;
  for (Watched* watched : {&one, &other}) {
    ASSERT_TRUE(poller->add(watched->ends[0], EPOLLIN, *watched).has_value());
    watched->put();
  }
  // Both are ready in one batch; whichever comes first removes the other.
  one.then = [&] { poller->remove(other.ends[0], other); };
  other.then = [&] { poller->remove(one.ends[0], one); };
  EXPECT_EQ(poller->dispatch({}), 2u);
  EXPECT_EQ(one.calls + other.calls, 1);
}

TEST(Poller, AWakeUpEndsTheNextDispatchOnce) {
  auto poller = Poller::create().value();
  poller->wake();
  poller->wake();
  EXPECT_EQ(poller->dispatch(10s), 1u);
  EXPECT_EQ(poller->dispatch({}), 0u);
  const std::uint64_t one = 1;
  ASSERT_EQ(write(poller->wake_fd(), &one, sizeof one), 8);  // as another process does
  EXPECT_EQ(poller->dispatch(10s), 1u);
}

TEST(Poller, AnotherThreadWakesASleeper) {
  auto poller = Poller::create().value();
  for (int i = 0; i < 100; ++i) {
    std::thread waker([&] { poller->wake(); });
    EXPECT_EQ(poller->dispatch(10s), 1u);
    waker.join();
  }
}

TEST(Poller, TimesOut) {
  auto poller = Poller::create().value();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(poller->dispatch(2ms), 0u);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 2ms);
}

TEST(Poller, RefusesWhatCannotBeWatched) {
  auto poller = Poller::create().value();
  Watched one;
  EXPECT_FALSE(poller->add(-1, EPOLLIN, one).has_value());
  EXPECT_FALSE(poller->modify(one.ends[0], EPOLLIN, one).has_value());
}

}  // namespace
}  // namespace godwit::fabric
