// Two processes: how engines get to know each other, or do not.
#include <algorithm>

#include "fabric/own_resources.h"
#include "fabric/remote/remote_conformance.h"

namespace godwit::fabric::testing {
namespace {

TEST_P(RemoteConformance, BothSidesLearnOfEachOther) {
  if (!make_engines({.node = "here"})) return;
  for (const bool from_here : {true, false}) {
    SCOPED_TRACE(from_here ? "dialed by the test" : "dialed by the peer");
    ASSERT_TRUE(connect(from_here));
    const PeerInfo& info = to_peer->peer();
    EXPECT_EQ(to_peer->kind(), a->transport().kind());
    EXPECT_EQ(info.engine, there.engine);
    EXPECT_EQ(info.node, there.node);
    EXPECT_EQ(info.dc, kDc);
    EXPECT_EQ(info.version, Handshake::kVersionMax);
    EXPECT_EQ(info.features, Handshake::kFeatures);
    EXPECT_EQ(info.max_payload, kMaxPayload);
    EXPECT_EQ(info.dialed, from_here);
    const Words expected = {std::string(to_string(a->transport().kind())),
                            a->identity().engine.to_string(),
                            "here",
                            std::to_string(kDc),
                            std::to_string(Handshake::kVersionMax),
                            std::to_string(Handshake::kFeatures),
                            std::to_string(kMaxPayload),
                            from_here ? "0" : "1"};
    EXPECT_EQ(peer->tell(from_here ? "peer 0" : "peer 1", *a), expected);
  }
}

TEST_P(RemoteConformance, AWrongKeyIsRefusedOnBothSides) {
  if (!make_engines({.key = key_of(1)}, {.key = key_of(2)})) return;
  ASSERT_NE(dial(), nullptr);
  ASSERT_TRUE(pump_until([&] { return !a->closed.empty(); }, kLimit, *a));
  ASSERT_TRUE(peer->until(
      "links", [](const auto& now) { return now[1] == 1; }, *a));
  EXPECT_EQ(a->closed[0].reason.code, Errc::wrong_key) << a->closed[0].reason.to_string();
  EXPECT_EQ(peer->tell("closure 0", *a)[0], "wrong_key");
  EXPECT_TRUE(a->established.empty());
  EXPECT_EQ(peer->count("links", *a)[0], 0u);
}

TEST_P(RemoteConformance, AnEngineOutsideTheDcRefuses) {
  if (!make_engines({}, {.dc = kDc + 1})) return;
  ASSERT_NE(dial(), nullptr);
  ASSERT_TRUE(pump_until([&] { return !a->closed.empty(); }, kLimit, *a));
  EXPECT_EQ(a->closed[0].reason.code, Errc::wrong_key) << a->closed[0].reason.to_string();
  EXPECT_EQ(peer->count("links", *a)[0], 0u);
}

TEST_P(RemoteConformance, VersionsWithoutOverlapAreRefusedNamingBoth) {
  Handshake::Offer newer;
  newer.version_min = 2;
  newer.version_max = 3;
  if (!make_engines({}, {.offer = newer})) return;
  ASSERT_NE(dial(), nullptr);
  ASSERT_TRUE(pump_until([&] { return !a->closed.empty(); }, kLimit, *a));
  ASSERT_TRUE(peer->until(
      "links", [](const auto& now) { return now[1] == 1; }, *a));
  EXPECT_EQ(a->closed[0].reason.code, Errc::version_mismatch);
  const auto reason = peer->ask("closure 0", *a);
  ASSERT_TRUE(reason.has_value());
  EXPECT_TRUE(reason->starts_with("version_mismatch ")) << *reason;
  for (const std::string& text : {a->closed[0].reason.message, *reason}) {
    EXPECT_NE(text.find("1 to 1"), std::string::npos) << text;
    EXPECT_NE(text.find("2 to 3"), std::string::npos) << text;
  }
}

TEST_P(RemoteConformance, TheSmallerPayloadLimitIsNegotiated) {
  Handshake::Offer small;
  small.max_payload = 64 << 10;
  if (!make_engines({}, {.offer = small}) || !connect()) return;
  EXPECT_EQ(to_peer->peer().max_payload, small.max_payload);
  EXPECT_EQ(peer->tell("peer 0", *a)[6], std::to_string(small.max_payload));
}

TEST_P(RemoteConformance, AnEngineThatIsGoneCannotBeReached) {
  if (!make_engines()) return;
  peer->tell("end");
  expect_unreachable();
}

TEST_P(RemoteConformance, AProcessThatIsGoneCannotBeReached) {
  if (!make_engines()) return;
  peer->kill();
  const auto gone = peer->ask("links");
  ASSERT_FALSE(gone.has_value());
  ASSERT_EQ(gone.error().code, Errc::connection_lost);
  expect_unreachable();
}

TEST_P(RemoteConformance, ASilentPeerEndsTheHandshakeAtItsDeadline) {
  constexpr auto kTimeout = 300ms;
  if (!make_engines({.handshake_timeout = kTimeout})) return;
  peer->tell("still", *a);
  const auto start = std::chrono::steady_clock::now();
  ASSERT_NE(dial(), nullptr);
  ASSERT_TRUE(pump_until([&] { return !a->closed.empty(); }, kLimit, *a));
  EXPECT_GE(std::chrono::steady_clock::now() - start, kTimeout);
  EXPECT_TRUE(a->established.empty());
  // What the peer finds when it goes on does not keep it from the next one.
  peer->tell("go", *a);
  ASSERT_TRUE(connect());
  Outgoing frames(10, 1, {100});
  ASSERT_TRUE(post_all(frames));
  const auto last = std::to_string(peer->count("links", *a)[0] - 1);
  ASSERT_TRUE(peer->until(
      "received " + last, [](const auto& now) { return now[0] == 10; }, *a));
}

TEST_P(RemoteConformance, ManyConnections) {
  constexpr std::uint32_t kConnections = 64, kEach = 20;
  if (!make_engines()) return;
  for (std::uint32_t i = 0; i < kConnections; ++i) ASSERT_NE(dial(), nullptr);
  ASSERT_TRUE(pump_until([&] { return a->established.size() == kConnections; }, kLimit, *a));
  ASSERT_TRUE(peer->until(
      "links", [](const auto& now) { return now[0] == kConnections; }, *a));
  std::vector<std::uint64_t> sent, arrived;
  for (std::uint32_t i = 0; i < kConnections; ++i) {
    to_peer = a->established[i];
    Outgoing frames(kEach, i * 1000, {64, 3000, 700});
    ASSERT_TRUE(post_all(frames));
    sent.push_back(frames.series().hash);
  }
  // Which link is which is not known: they are told apart by what came over them.
  for (std::uint32_t i = 0; i < kConnections; ++i) {
    ASSERT_TRUE(peer->has_received(i, kEach, *a));
    const Series series = peer->received(i, *a);
    EXPECT_EQ(series.frames, kEach);
    EXPECT_EQ(series.wrong, 0u);
    arrived.push_back(series.hash);
  }
  std::sort(sent.begin(), sent.end());
  std::sort(arrived.begin(), arrived.end());
  EXPECT_EQ(sent, arrived);
}

TEST_P(RemoteConformance, ReconnectingLeaksNothing) {
  if (!make_engines()) return;
  std::uint64_t rounds = 0;
  const auto once = [&] {
    ASSERT_TRUE(connect(rounds % 2 == 0));
    const std::string link = std::to_string(rounds);
    Outgoing frames(2, 0, {100, 50'000});
    ASSERT_TRUE(post_all(frames));
    peer->tell("send " + link + " 2 0 100 50000", *a);
    ASSERT_TRUE(peer->has_received(rounds, 2, *a));
    ASSERT_TRUE(pump_until([&] { return got.frames == 2; }, kLimit, *a));
    EXPECT_EQ(got, frames.series());
    EXPECT_EQ(peer->received(rounds, *a), frames.series());
    if (rounds % 4 < 2) {
      peer->tell("close " + link, *a);
    } else {
      to_peer->close({Errc::closed, "again", {}});
    }
    ++rounds;
    ASSERT_TRUE(pump_until([&] { return a->closed.size() == rounds; }, kLimit, *a));
    ASSERT_TRUE(peer->until(
        "links", [&](const auto& now) { return now[1] == rounds; }, *a));
    got = {};
  };
  for (int i = 0; i < 4; ++i) ASSERT_NO_FATAL_FAILURE(once());
  const std::size_t here = open_descriptors();
  const std::uint64_t at_peer = peer->count("descriptors", *a)[0];
  for (int i = 0; i < 40; ++i) ASSERT_NO_FATAL_FAILURE(once()) << "round " << i;
  EXPECT_TRUE(pump_until([&] { return open_descriptors() <= here; }, *a))
      << open_descriptors() << " descriptors here, before " << here;
  EXPECT_TRUE(peer->until(
      "descriptors", [&](const auto& now) { return now[0] <= at_peer; }, *a))
      << "before " << at_peer;
  EXPECT_TRUE(all_memory_is_home());
  EXPECT_TRUE(peer->until(
      "memory", [](const auto& now) { return now[0] == 0 && now[1] == 0; }, *a));
}

}  // namespace
}  // namespace godwit::fabric::testing
