// Two processes: what is sent arrives, whole and in order.
#include "fabric/remote/remote_conformance.h"

namespace godwit::fabric::testing {
namespace {

std::string words(const std::vector<std::uint32_t>& numbers) {
  std::string text;
  for (const std::uint32_t each : numbers) text += " " + std::to_string(each);
  return text;
}

/// Tells the peer to send over link 0 what `outgoing` describes here as well.
std::string send_command(std::uint32_t count, std::uint32_t tag,
                         const std::vector<std::uint32_t>& sizes) {
  return "send 0 " + std::to_string(count) + " " + std::to_string(tag) + words(sizes);
}

TEST_P(RemoteConformance, FramesKeepTheirOrderBothWays) {
  if (!join()) return;
  constexpr std::uint32_t kFrames = 3000;
  const std::vector<std::uint32_t> sizes = {0, 1, 64, 96, 97, 199, 416, 417, 700, 1500, 2048, 8};
  Outgoing out(kFrames, 0, sizes);
  const Outgoing back(kFrames, 50'000, sizes);
  peer->tell(send_command(kFrames, 50'000, sizes), *a);
  ASSERT_TRUE(pump_until(
      [&] {
        out.post(*a, *to_peer);
        return out.done() && got.frames == kFrames;
      },
      kLimit, *a))
      << "sent " << out.posted() << ", received " << got.frames;
  ASSERT_TRUE(peer->has_received(0, kFrames, *a));
  EXPECT_EQ(peer->received(0, *a), out.series());
  EXPECT_EQ(got, back.series());
  EXPECT_EQ(to_peer->counters().frames_sent, kFrames);
  EXPECT_EQ(to_peer->counters().frames_received, kFrames);
  EXPECT_TRUE(all_memory_is_home());
}

TEST_P(RemoteConformance, EveryPayloadSizeArrivesBothWays) {
  if (!join()) return;
  const std::vector<std::uint32_t> sizes = {
      0,    1,    63,   64,   65,   511,    512,    513,    2047,    2048,    2049, 4096,
      8191, 8192, 8193, 9000, 9001, 65'535, 65'536, 65'537, 1 << 20, 4 << 20, 3};
  const auto count = static_cast<std::uint32_t>(sizes.size());
  Outgoing out(count, 1, sizes);
  const Outgoing back(count, 1000, sizes);
  peer->tell(send_command(count, 1000, sizes), *a);
  ASSERT_TRUE(send_all(out));
  ASSERT_TRUE(pump_until([&] { return got.frames == count; }, kLimit, *a));
  EXPECT_EQ(peer->received(0, *a), out.series());
  EXPECT_EQ(got, back.series());
  // All memory is home again, even where the peer had to give it back.
  EXPECT_TRUE(all_memory_is_home());
  EXPECT_TRUE(peer->until(
      "memory", [](const auto& now) { return now[0] == 0 && now[1] == 0; }, *a));
}

TEST_P(RemoteConformance, LargeAndSmallFramesKeepTheirOrder) {
  if (!join()) return;
  const std::vector<std::uint32_t> sizes = {12, 2049, 300, 40'000, 0, 0, 9000, 700, 70'001, 2048};
  Outgoing out(200, 7, sizes);
  const Outgoing back(200, 5000, sizes);
  peer->tell(send_command(200, 5000, sizes), *a);
  ASSERT_TRUE(send_all(out));
  ASSERT_TRUE(pump_until([&] { return got.frames == 200; }, kLimit, *a));
  EXPECT_EQ(peer->received(0, *a), out.series());
  EXPECT_EQ(got, back.series());
}

TEST_P(RemoteConformance, WithoutAPlaceThePayloadIsDroppedAndTheRestGoesOn) {
  if (!join()) return;
  peer->tell("place none", *a);
  Outgoing frames(8, 0, {300'000, 10, 9000, 2048});
  ASSERT_TRUE(send_all(frames));
  Series arrived = peer->received(0, *a);
  // Four of them are large. shm hands over by reference and need not ask for memory.
  EXPECT_EQ(arrived.dropped, a->transport().kind() == TransportKind::shm ? 0u : 4u);
  arrived.dropped = 0;
  EXPECT_EQ(arrived, frames.series());
  peer->tell("place arena", *a);
  Outgoing more(2, 100, {300'000, 5});
  ASSERT_TRUE(post_all(more));
  ASSERT_TRUE(peer->has_received(0, 10, *a));
  arrived = peer->received(0, *a);
  Series both = frames.series();
  more.append(both, 2);
  both.dropped = a->transport().kind() == TransportKind::shm ? 0 : 4;
  EXPECT_EQ(arrived, both);
}

TEST_P(RemoteConformance, AFullConnectionSaysSoAndLosesNothing) {
  if (!join()) return;
  peer->tell("still", *a);
  // No transport takes 64 MiB that nobody reads, nor forgets what it refused.
  constexpr std::uint32_t kMost = (64u << 20) / 1024;
  Outgoing frames(kMost, 0, {1024});
  std::uint32_t posted = 0;
  do {
    a->writable.clear();
    ASSERT_EQ(frames.post(*a, *to_peer), Outgoing::Stop::no_room) << "never refused";
    posted = frames.posted();
    for (int i = 0; i < 1000; ++i) a->step();  // what lies between takes some
  } while (!a->writable.empty());
  peer->tell("go", *a);
  ASSERT_TRUE(pump_until([&] { return !a->writable.empty(); }, kLimit, *a));
  EXPECT_EQ(a->writable[0], to_peer);
  // One more, which was refused before.
  ASSERT_TRUE(pump_until(
      [&] {
        if (frames.posted() == posted) frames.post(*a, *to_peer);
        return frames.posted() > posted;
      },
      kLimit, *a));
  ASSERT_TRUE(peer->has_received(0, frames.posted(), *a));
  EXPECT_EQ(peer->received(0, *a), frames.series(frames.posted()));
}

TEST_P(RemoteConformance, APeerThatFindsNoRoomWaitsAndLosesNothing) {
  if (!join()) return;
  // Nobody reads here: the peer gets to where it has no room.
  std::uint32_t frames = 0;
  for (bool stands = false; !stands;) {
    ASSERT_LT(frames, 64'000u) << "never refused";
    peer->tell(send_command(1000, frames, {1024}));
    frames += 1000;
    std::uint64_t before = 0;
    ASSERT_TRUE(peer->until("sent 0", [&](const auto& now) {
      stands = now[1] == 1 && now[0] == before;
      before = now[0];
      return stands || now[0] == frames;
    }));
  }
  ASSERT_TRUE(pump_until([&] { return got.frames == frames; }, kLimit, *a)) << got.frames;
  EXPECT_EQ(got, Outgoing(frames, 0, {1024}).series());
}

TEST_P(RemoteConformance, RetainedFramesStayAsTheyAre) {
  if (!join()) return;
  constexpr std::uint32_t kFrames = 40;
  const std::vector<std::uint32_t> sizes = {0, 96, 2048, 100'000};
  const Outgoing same(kFrames, 0, sizes);
  std::vector<FramePtr> retained;
  for (std::uint32_t i = 0; i < kFrames; ++i) retained.push_back(a->make_frame(sizes[i % 4], i));
  // Twice, the second time over another connection, as after a reconnect.
  for (int round = 0; round < 2; ++round) {
    for (FramePtr& frame : retained) {
      ASSERT_TRUE(
          pump_until([&] { return to_peer->send(*frame) == SendStatus::sent; }, kLimit, *a));
    }
    ASSERT_TRUE(peer->has_received(static_cast<std::size_t>(round), kFrames, *a));
    EXPECT_EQ(peer->received(static_cast<std::size_t>(round), *a), same.series());
    Series kept;
    for (const FramePtr& frame : retained) kept.add(frame->header, frame->payload());
    EXPECT_EQ(kept, same.series());
    if (round == 1) break;
    to_peer->close({Errc::closed, "again", {}});
    ASSERT_TRUE(pump_until([&] { return !a->closed.empty(); }, kLimit, *a));
    ASSERT_TRUE(connect());
  }
  EXPECT_EQ(a->frames().outstanding(), kFrames);
}

}  // namespace
}  // namespace godwit::fabric::testing
