// Two processes: sleeping, and being woken by the other.
#include "fabric/remote/remote_conformance.h"

namespace godwit::fabric::testing {
namespace {

TEST_P(RemoteConformance, AnIdlePeerSleepsAndAFrameWakesIt) {
  if (!join()) return;
  // One frame each way, so that nothing of the set-up is left to do.
  Outgoing first(1, 0, {8}), second(1, 1, {77});
  ASSERT_TRUE(send_all(first));
  peer->tell("send 0 1 0 8", *a);
  ASSERT_TRUE(pump_until([&] { return got.frames == 1; }, kLimit, *a));
  // What watches over the delivery of those frames ends by itself, here as well.
  ASSERT_TRUE(pump_until(
      [&] {
        return a->transport().next_deadline() == std::chrono::steady_clock::time_point::max();
      },
      kLimit, *a));
  const std::uint64_t before = wait_asleep();
  EXPECT_FALSE(sleep_until([] { return false; }, 300ms));
  const std::uint64_t idle = wait_asleep();
  EXPECT_LE(idle, before + (wakes_by_itself() ? 9 : 3)) << "woken for nothing";
  // Asking does not wake it: the frame does.
  ASSERT_TRUE(send_all(second));
  EXPECT_GT(peer->count("asleep", *a)[2], idle);
}

TEST_P(RemoteConformance, BothSidesSleepBetweenCallsAndReplies) {
  if (!join()) return;
  peer->tell("echo 0", *a);
  constexpr std::uint32_t kCalls = 60;
  const std::vector<std::uint32_t> sizes = {0, 64, 2048, 9000, 100'000, 300};
  const Outgoing calls(kCalls, 0, sizes);
  for (std::uint32_t i = 0; i < kCalls; ++i) {
    Outgoing call(1, i, {sizes[i % sizes.size()]});
    ASSERT_TRUE(post_all(call));
    ASSERT_TRUE(sleep_until([&] { return got.frames == i + 1; }, 20s)) << "call " << i;
  }
  EXPECT_EQ(got, calls.series());
}

TEST_P(RemoteConformance, ArmPushesOutWhatIsQueued) {
  if (!join()) return;
  Outgoing frames(10, 0, {64});
  ASSERT_EQ(frames.post(*a, *to_peer), Outgoing::Stop::done);
  ASSERT_TRUE(arm());
  // `a` sleeps, and wakes only for what its descriptors tell.
  ASSERT_TRUE(peer->until("received 0", [&](const auto& now) {
    if (a->poller().dispatch({}) != 0) arm();
    return now[0] == 10;
  }));
  EXPECT_EQ(peer->received(0), frames.series());
}

TEST_P(RemoteConformance, ASenderSleepsUntilThereIsRoom) {
  if (!join()) return;
  peer->tell("still", *a);
  Outgoing frames((64u << 20) / 1024, 0, {1024});
  do {
    a->writable.clear();
    ASSERT_EQ(frames.post(*a, *to_peer), Outgoing::Stop::no_room) << "never refused";
    for (int i = 0; i < 1000; ++i) a->step();
  } while (!a->writable.empty());
  peer->tell("go");
  // Both sleep whenever they may: a transport that loses a wake-up never gets to the end.
  ASSERT_TRUE(sleep_until([&] { return !a->writable.empty(); }, 20s));
  const std::uint32_t posted = frames.posted();
  frames.post(*a, *to_peer);
  EXPECT_GT(frames.posted(), posted);
  ASSERT_TRUE(peer->has_received(0, frames.posted(), *a));
  EXPECT_EQ(peer->received(0, *a), frames.series(frames.posted()));
}

TEST_P(RemoteConformance, ASleeperHearsOfItsPeersEnd) {
  if (!make_engines()) return;
  for (const std::string end : {"close 0", "die"}) {
    SCOPED_TRACE(end);
    ASSERT_TRUE(connect());
    ASSERT_TRUE(arm());
    if (end == "die") {
      peer->kill();
    } else {
      peer->tell(end);
    }
    EXPECT_GT(a->poller().dispatch(10s), 0u);
    a->transport().disarm();
    const std::size_t closed = a->closed.size() + 1;
    ASSERT_TRUE(sleep_until([&] { return a->closed.size() >= closed; }, 20s));
  }
}

}  // namespace
}  // namespace godwit::fabric::testing
