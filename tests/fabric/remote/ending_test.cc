// Two processes: how connections end, and what is noticed of it.
#include "fabric/remote/remote_conformance.h"

namespace godwit::fabric::testing {
namespace {

// What docs/verbs.md and docs/ucx.md promise, too.
constexpr std::chrono::milliseconds kNoticed = 1s;

TEST_P(RemoteConformance, CloseIsToldOnceToEachSide) {
  if (!make_engines()) return;
  std::uint64_t rounds = 0;
  for (const bool dialed_here : {true, false}) {
    for (const bool closed_here : {true, false}) {
      SCOPED_TRACE(rounds);
      ASSERT_TRUE(connect(dialed_here));
      if (closed_here) {
        to_peer->close({Errc::closed, "the first reason", {}});
        to_peer->close({Errc::system, "a second one", {}});
        EXPECT_EQ(a->closed.size(), rounds) << "told from inside close()";
      } else {
        peer->tell("close " + std::to_string(rounds), *a);
      }
      const std::string number = std::to_string(rounds++);
      ASSERT_TRUE(pump_until([&] { return a->closed.size() == rounds; }, kLimit, *a));
      ASSERT_TRUE(peer->until(
          "links", [&](const auto& now) { return now[1] == rounds; }, *a));
      const Error& reason = a->closed.back().reason;
      EXPECT_EQ(a->closed.back().connection, to_peer);
      EXPECT_EQ(reason.code, closed_here ? Errc::closed : Errc::connection_lost);
      if (closed_here) {
        EXPECT_EQ(reason.message, "the first reason");
      }
      EXPECT_EQ(peer->tell("closure " + number, *a)[0], closed_here ? "connection_lost" : "closed");
    }
  }
  // A further connection's whole life, in which a second telling would have come.
  ASSERT_TRUE(connect());
  Outgoing frames(10, 0, {100});
  ASSERT_TRUE(post_all(frames));
  ASSERT_TRUE(peer->has_received(rounds, 10, *a));
  EXPECT_EQ(a->closed.size(), rounds);
  EXPECT_EQ(peer->count("links", *a)[1], rounds);
}

TEST_P(RemoteConformance, WhatWasSentBeforeACloseArrivesFirst) {
  if (!join()) return;
  Outgoing frames(5, 0, {100});
  ASSERT_TRUE(post_all(frames));
  to_peer->flush();
  to_peer->close({Errc::closed, "done", {}});
  ASSERT_TRUE(peer->until(
      "links", [](const auto& now) { return now[1] == 1; }, *a));
  EXPECT_EQ(peer->received(0, *a), frames.series());

  ASSERT_TRUE(connect());
  peer->tell("send 1 5 0 100");
  ASSERT_TRUE(peer->until("sent 1", [](const auto& now) { return now[0] == 5; }));
  peer->tell("close 1");
  ASSERT_TRUE(pump_until([&] { return a->closed.size() == 2; }, kLimit, *a));
  EXPECT_EQ(got, frames.series());
}

TEST_P(RemoteConformance, CloseFreesQueuedFrames) {
  if (!join()) return;
  peer->tell("still", *a);
  Outgoing frames(200, 0, {20'000, 100, 100, 100, 100});
  frames.post(*a, *to_peer);
  to_peer->close({Errc::closed, "done", {}});
  peer->tell("go", *a);
  ASSERT_TRUE(peer->until(
      "links", [](const auto& now) { return now[1] == 1; }, *a));
  frames = Outgoing(0, 0, {0});  // with the one that was refused
  EXPECT_TRUE(all_memory_is_home());
}

TEST_P(RemoteConformance, AnEngineThatEndsIsNoticed) {
  if (!join()) return;
  peer->tell("end");
  ASSERT_TRUE(pump_until([&] { return !a->closed.empty(); }, kLimit, *a));
  EXPECT_EQ(a->closed[0].reason.code, Errc::connection_lost);
}

TEST_P(RemoteConformance, AKilledPeerIsNoticed) {
  if (!join()) return;
  peer->kill();
  EXPECT_TRUE(pump_until([&] { return !a->closed.empty(); }, kNoticed, *a));
  ASSERT_EQ(a->closed.size(), 1u);
  EXPECT_EQ(a->closed[0].reason.code, Errc::connection_lost);
}

TEST_P(RemoteConformance, APeerThatIsKilledWhileItSendsIsNoticed) {
  if (!join()) return;
  peer->tell("send 0 100000 0 64 50000", *a);
  ASSERT_TRUE(pump_until([&] { return got.frames >= 20; }, kLimit, *a));
  peer->kill();
  EXPECT_TRUE(pump_until([&] { return !a->closed.empty(); }, kNoticed, *a));
  ASSERT_EQ(a->closed.size(), 1u);
  EXPECT_EQ(a->closed[0].reason.code, Errc::connection_lost);
  // What was told before is whole.
  const auto frames = static_cast<std::uint32_t>(got.frames);
  EXPECT_EQ(got, Outgoing(frames, 0, {64, 50'000}).series());
  EXPECT_TRUE(all_memory_is_home());
}

TEST_P(RemoteConformance, APeerThatIsKilledWhileItReceivesIsNoticed) {
  if (!join()) return;
  Outgoing frames(100'000, 0, {64, 50'000});
  ASSERT_TRUE(pump_until(
      [&] {
        frames.post(*a, *to_peer, Outgoing::kBatch);
        return frames.posted() >= 20;
      },
      kLimit, *a));
  peer->kill();
  EXPECT_TRUE(pump_until(
      [&] {
        if (a->closed.empty()) frames.post(*a, *to_peer, Outgoing::kBatch);
        return !a->closed.empty();
      },
      kNoticed, *a));
  ASSERT_EQ(a->closed.size(), 1u);
  EXPECT_EQ(a->closed[0].reason.code, Errc::connection_lost);
  frames = Outgoing(0, 0, {0});
  EXPECT_TRUE(all_memory_is_home());
}

TEST_P(RemoteConformance, TheDeathOfOnePeerLeavesTheOthersAlone) {
  if (!join()) return;
  Connection* const to_first = to_peer;
  auto second = RemotePeer::start();
  ASSERT_TRUE(second.has_value()) << second.error().to_string();
  const auto address = make_engine(**second, {.node = there.node});
  ASSERT_TRUE(address.has_value()) << address.error().to_string();
  const auto dialed = a->transport().connect(*address, kDc);
  ASSERT_TRUE(dialed.has_value());
  ASSERT_TRUE(pump_until([&] { return a->established.size() == 2; }, kLimit, *a));
  Connection* const to_second = *dialed;

  Outgoing to_killed(100'000, 0, {64, 50'000}), frames(100, 0, {64, 20'000});
  const auto all = [&] {
    if (a->closed.empty()) to_killed.post(*a, *to_second, Outgoing::kBatch);
    frames.post(*a, *to_first);
  };
  while (to_killed.posted() < 10) {
    all();
    a->step();
  }
  (*second)->kill();
  ASSERT_TRUE(pump_until(
      [&] {
        all();
        return !a->closed.empty() && frames.done();
      },
      kLimit, *a));
  EXPECT_EQ(a->closed[0].connection, to_second);
  ASSERT_TRUE(peer->has_received(0, 100, *a));
  EXPECT_EQ(peer->received(0, *a), frames.series());
  EXPECT_EQ(a->closed.size(), 1u);
}

}  // namespace
}  // namespace godwit::fabric::testing
