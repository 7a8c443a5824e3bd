// What every transport must do, run over each of transport_factories(): both ends in one process.
// tests/fabric/remote has what takes two, as the death of one.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <map>

#include "fabric/own_resources.h"
#include "fabric/test_engine.h"

namespace godwit::fabric::testing {
namespace {

using namespace std::chrono_literals;

class Conformance : public ::testing::TestWithParam<TransportFactory> {
 protected:
  TransportFactory factory = GetParam();
};

/// Two engines and an established connection between them.
struct Pair {
  explicit Pair(TransportFactory& factory, const EngineSetup& setup_a = {},
                const EngineSetup& setup_b = {})
      : a(factory, setup_a), b(factory, setup_b) {
    if (!a.has_transport() || !b.has_transport()) return;
    auto dialed = a.transport().connect(b.address(), kDc);
    EXPECT_TRUE(dialed.has_value());
    if (!dialed) return;
    const bool up =
        pump_until([&] { return !a.established.empty() && !b.established.empty(); }, a, b);
    EXPECT_TRUE(up) << "not established";
    if (!up) return;
    to_b = a.established[0];
    to_a = b.established[0];
    EXPECT_EQ(to_b, *dialed);
  }
  bool up() const { return to_a != nullptr; }

  TestEngine a, b;
  Connection* to_b = nullptr;  // a's
  Connection* to_a = nullptr;  // b's
};

/// Posts a frame, stepping both engines as long as there is no room.
template <typename... Engines>
bool post_all(TestEngine& from, Connection& connection, FramePtr frame, Engines&... engines) {
  SendStatus status = SendStatus::would_block;
  return pump_until(
             [&] {
               status = connection.post(frame);
               return status != SendStatus::would_block;
             },
             from, engines...) &&
         status == SendStatus::sent && frame == nullptr;
}

std::chrono::microseconds cpu_time() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto of = [](timeval time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

// --- connecting ---------------------------------------------------------------------------------

TEST_P(Conformance, BothSidesLearnOfEachOther) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  for (auto [connection, own, other, dialed] :
       {std::tuple(pair.to_b, &pair.a, &pair.b, true), {pair.to_a, &pair.b, &pair.a, false}}) {
    const PeerInfo& peer = connection->peer();
    EXPECT_EQ(connection->kind(), own->transport().kind());
    EXPECT_EQ(peer.engine, other->identity().engine);
    EXPECT_EQ(peer.node, other->identity().node);
    EXPECT_EQ(peer.dc, kDc);
    EXPECT_EQ(peer.version, Handshake::kVersionMax);
    EXPECT_EQ(peer.features, Handshake::kFeatures);
    EXPECT_EQ(peer.max_payload, kMaxPayload);
    EXPECT_EQ(peer.dialed, dialed);
  }
}

TEST_P(Conformance, NothingIsCalledFromInsideConnect) {
  TestEngine a(factory), b(factory);
  ASSERT_TRUE(a.transport().connect(b.address(), kDc).has_value());
  EXPECT_TRUE(a.established.empty());
  EXPECT_TRUE(a.closed.empty());
}

TEST_P(Conformance, AWrongKeyIsRefusedOnBothSides) {
  TestEngine a(factory, {.key = key_of(1)}), b(factory, {.key = key_of(2)});
  auto dialed = a.transport().connect(b.address(), kDc);
  ASSERT_TRUE(dialed.has_value());
  ASSERT_TRUE(pump_until([&] { return !a.closed.empty() && !b.closed.empty(); }, a, b));
  EXPECT_EQ(a.closed[0].reason.code, Errc::wrong_key) << a.closed[0].reason.to_string();
  EXPECT_EQ(b.closed[0].reason.code, Errc::wrong_key) << b.closed[0].reason.to_string();
  EXPECT_TRUE(a.established.empty());
  EXPECT_TRUE(b.established.empty());
}

TEST_P(Conformance, AnEngineOutsideTheDcRefusesAsOneWithAnotherKeyDoes) {
  TestEngine a(factory, {.dc = kDc}), b(factory, {.dc = kDc + 1}), c(factory, {.key = key_of(2)});
  ASSERT_TRUE(a.transport().connect(b.address(), kDc).has_value());
  ASSERT_TRUE(pump_until([&] { return !a.closed.empty() && !b.closed.empty(); }, a, b));
  ASSERT_TRUE(a.transport().connect(c.address(), kDc).has_value());
  ASSERT_TRUE(pump_until([&] { return a.closed.size() == 2; }, a, c));
  EXPECT_EQ(a.closed[0].reason.code, Errc::wrong_key);
  EXPECT_EQ(a.closed[0].reason.to_string(), a.closed[1].reason.to_string());
  EXPECT_TRUE(b.established.empty());
}

TEST_P(Conformance, OnlyMembersDial) {
  TestEngine a(factory), b(factory);
  const auto dialed = a.transport().connect(b.address(), kDc + 1);
  // A transport may know at once, or tell it as it tells all else.
  if (!dialed) {
    EXPECT_EQ(dialed.error().code, Errc::wrong_key);
    return;
  }
  ASSERT_TRUE(pump_until([&] { return !a.closed.empty(); }, a, b));
  EXPECT_EQ(a.closed[0].reason.code, Errc::wrong_key);
  EXPECT_TRUE(b.established.empty());
}

TEST_P(Conformance, VersionsWithoutOverlapAreRefusedNamingBoth) {
  Handshake::Offer newer;
  newer.version_min = 2;
  newer.version_max = 3;
  TestEngine a(factory), b(factory, {.offer = newer});
  if (!b.has_transport()) GTEST_SKIP() << factory.name << " cannot be given another offer";
  ASSERT_TRUE(a.transport().connect(b.address(), kDc).has_value());
  ASSERT_TRUE(pump_until([&] { return !a.closed.empty() && !b.closed.empty(); }, a, b));
  for (const TestEngine* engine : {&a, &b}) {
    const Error& reason = engine->closed[0].reason;
    EXPECT_EQ(reason.code, Errc::version_mismatch);
    EXPECT_NE(reason.message.find("1 to 1"), std::string::npos) << reason.message;
    EXPECT_NE(reason.message.find("2 to 3"), std::string::npos) << reason.message;
  }
}

TEST_P(Conformance, TheSmallerPayloadLimitIsNegotiated) {
  Handshake::Offer small;
  small.max_payload = 64 << 10;
  EngineSetup setup;
  setup.offer = small;
  {
    TestEngine probe(factory, setup);
    if (!probe.has_transport()) GTEST_SKIP() << factory.name << " cannot be given another offer";
  }
  Pair pair(factory, {}, setup);
  ASSERT_TRUE(pair.up());
  EXPECT_EQ(pair.to_a->peer().max_payload, small.max_payload);
  EXPECT_EQ(pair.to_b->peer().max_payload, small.max_payload);
}

TEST_P(Conformance, AnEngineThatIsGoneCannotBeReached) {
  TestEngine a(factory);
  EngineAddress gone;
  {
    TestEngine b(factory);
    gone = b.address();
  }
  const auto dialed = a.transport().connect(gone, kDc);
  if (!dialed) {
    EXPECT_EQ(dialed.error().code, Errc::unreachable) << dialed.error().to_string();
    return;
  }
  ASSERT_TRUE(pump_until([&] { return !a.closed.empty(); }, a));
  EXPECT_EQ(a.closed[0].reason.code, Errc::unreachable) << a.closed[0].reason.to_string();
}

TEST_P(Conformance, ASilentPeerEndsTheHandshakeAtItsDeadline) {
  TestEngine a(factory, {.handshake_timeout = 100ms}), b(factory);
  ASSERT_TRUE(a.transport().connect(b.address(), kDc).has_value());
  EXPECT_LE(a.transport().next_deadline(), std::chrono::steady_clock::now() + 100ms);
  ASSERT_TRUE(pump_until([&] { return !a.closed.empty(); }, a));  // b never progresses
  EXPECT_TRUE(a.established.empty());
}

// --- frames -------------------------------------------------------------------------------------

TEST_P(Conformance, FramesKeepTheirOrderBothWays) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  constexpr std::uint32_t kFrames = 20'000;
  std::array<std::uint32_t, 2> sent{}, got{};
  const std::array<TestEngine*, 2> engines = {&pair.a, &pair.b};
  const std::array<Connection*, 2> connections = {pair.to_b, pair.to_a};
  for (std::size_t i = 0; i < 2; ++i) {
    engines[i]->on_data = [&got, i](Connection&, const FrameHeader& header,
                                    std::span<const std::byte> payload, Buffer) {
      ASSERT_EQ(header.upper[0], got[i]);
      ASSERT_EQ(payload.size(), got[i] % 200);
      ASSERT_TRUE(TestEngine::has_pattern(
          {reinterpret_cast<const char*>(payload.data()), payload.size()}, got[i]));
      ++got[i];
    };
  }
  ASSERT_TRUE(pump_until(
      [&] {
        for (std::size_t i = 0; i < 2; ++i) {
          for (int burst = 0; burst < 300 && sent[i] < kFrames; ++burst) {
            FramePtr frame = engines[i]->make_frame(sent[i] % 200, sent[i]);
            if (connections[i]->post(frame) != SendStatus::sent) break;
            ++sent[i];
          }
        }
        return got[0] == kFrames && got[1] == kFrames;
      },
      60s, pair.a, pair.b));
  EXPECT_EQ(pair.to_b->counters().frames_sent, kFrames);
  EXPECT_EQ(pair.to_b->counters().frames_received, kFrames);
  EXPECT_EQ(pair.to_b->counters().bytes_sent, pair.to_a->counters().bytes_received);
  EXPECT_EQ(pair.a.frames().outstanding(), 0u);
}

TEST_P(Conformance, EveryPayloadSizeArrives) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  std::uint32_t tag = 0;
  for (const std::uint32_t size : {0u, 1u, 63u, 64u, 65u, 511u, 512u, 513u, 2047u, 2048u, 2049u,
                                   4096u, 1u << 20, kMaxPayload, 3u}) {
    SCOPED_TRACE(size);
    FramePtr frame = pair.a.make_frame(size, ++tag);
    const FrameHeader header = frame->header;
    ASSERT_TRUE(post_all(pair.a, *pair.to_b, std::move(frame), pair.b));
    ASSERT_TRUE(pump_until([&] { return !pair.b.received.empty(); }, pair.a, pair.b));
    const auto& received = pair.b.received[0];
    EXPECT_EQ(received.header.length, size);
    EXPECT_EQ(received.header.fabric, 0u);
    EXPECT_EQ(received.header.upper, header.upper);
    ASSERT_EQ(received.payload.size(), size);
    EXPECT_TRUE(TestEngine::has_pattern(received.payload, tag));
    pair.b.received.clear();
  }
  // All memory is home again, even where the peer had to give it back.
  ASSERT_TRUE(pump_until([&] { return pair.a.arena().in_use() == 0; }, pair.a, pair.b));
  EXPECT_EQ(pair.a.frames().outstanding(), 0u);
  EXPECT_EQ(pair.b.arena().in_use(), 0u);
}

TEST_P(Conformance, LargeAndSmallFramesKeepTheirOrder) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  constexpr std::uint32_t kFrames = 400;
  std::uint32_t sent = 0, got = 0;
  const auto size_of = [](std::uint32_t n) {
    return n % 3 == 1 ? 2049 + n * 377 % 90'000 : n % 700;
  };
  pair.b.on_data = [&](Connection&, const FrameHeader& header, std::span<const std::byte> payload,
                       Buffer) {
    ASSERT_EQ(header.upper[0], got);
    ASSERT_EQ(payload.size(), size_of(got));
    ASSERT_TRUE(TestEngine::has_pattern(
        {reinterpret_cast<const char*>(payload.data()), payload.size()}, got));
    ++got;
  };
  ASSERT_TRUE(pump_until(
      [&] {
        while (sent < kFrames) {
          FramePtr frame = pair.a.make_frame(size_of(sent), sent);
          if (pair.to_b->post(frame) != SendStatus::sent) break;
          ++sent;
        }
        return got == kFrames;
      },
      60s, pair.a, pair.b));
}

TEST_P(Conformance, PlacedMemoryReceivesThePayload) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  std::vector<std::byte> user(100'000);
  std::size_t placed = 0;
  pair.b.on_place = [&](Connection&, const FrameHeader& header) {
    ++placed;
    return Buffer::unowned(user.data(), header.length);
  };
  Buffer kept;
  std::size_t got = 0;
  pair.b.on_data = [&](Connection&, const FrameHeader&, std::span<const std::byte> payload,
                       Buffer large) {
    ++got;
    EXPECT_FALSE(large.empty());
    EXPECT_EQ(payload.data(), large.data());
    kept = std::move(large);
  };
  ASSERT_TRUE(post_all(pair.a, *pair.to_b, pair.a.make_frame(100'000, 9), pair.b));
  ASSERT_TRUE(pump_until([&] { return got == 1; }, pair.a, pair.b));
  // shm hands over by reference and need not ask for memory; whoever asks must use what it got.
  if (placed != 0) {
    EXPECT_EQ(kept.data(), user.data());
  }
  ASSERT_EQ(kept.size(), 100'000u);
  EXPECT_TRUE(
      TestEngine::has_pattern({reinterpret_cast<const char*>(kept.data()), kept.size()}, 9));
  kept = Buffer();
}

TEST_P(Conformance, WithoutAPlaceThePayloadIsDroppedAndTheRestGoesOn) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  std::size_t placed = 0;
  pair.b.on_place = [&](Connection&, const FrameHeader&) {
    ++placed;
    return Buffer();
  };
  for (std::uint32_t tag = 0; tag < 3; ++tag) {
    ASSERT_TRUE(post_all(pair.a, *pair.to_b, pair.a.make_frame(300'000, tag), pair.b));
    ASSERT_TRUE(post_all(pair.a, *pair.to_b, pair.a.make_frame(10, 100 + tag), pair.b));
  }
  ASSERT_TRUE(pump_until([&] { return pair.b.received.size() == 6; }, pair.a, pair.b));
  for (std::uint32_t tag = 0; tag < 3; ++tag) {
    const auto& large = pair.b.received[tag * 2];
    EXPECT_EQ(large.header.length, 300'000u);
    EXPECT_EQ(large.header.upper[0], tag);
    if (placed != 0) {
      EXPECT_TRUE(large.payload.empty());
    }
    EXPECT_TRUE(TestEngine::has_pattern(pair.b.received[tag * 2 + 1].payload, 100 + tag));
  }
}

TEST_P(Conformance, RetainedFramesStayAsTheyAre) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  std::vector<FramePtr> retained;
  std::vector<FrameHeader> headers;
  const std::array<std::uint32_t, 4> sizes = {0, 96, 2048, 500'000};
  for (std::uint32_t i = 0; i < 40; ++i) {
    retained.push_back(pair.a.make_frame(sizes[i % 4], i));
    headers.push_back(retained.back()->header);
  }
  // Twice, as after a reconnect.
  for (int round = 0; round < 2; ++round) {
    for (FramePtr& frame : retained) {
      ASSERT_TRUE(
          pump_until([&] { return pair.to_b->send(*frame) == SendStatus::sent; }, pair.a, pair.b));
    }
    ASSERT_TRUE(
        pump_until([&] { return pair.b.received.size() == retained.size(); }, pair.a, pair.b));
    for (std::uint32_t i = 0; i < retained.size(); ++i) {
      EXPECT_EQ(pair.b.received[i].header.upper, headers[i].upper);
      EXPECT_TRUE(TestEngine::has_pattern(pair.b.received[i].payload, i));
      EXPECT_EQ(std::memcmp(&retained[i]->header, &headers[i], sizeof(FrameHeader)), 0);
      const auto payload = retained[i]->payload();
      ASSERT_EQ(payload.size(), sizes[i % 4]);
      EXPECT_TRUE(TestEngine::has_pattern(
          {reinterpret_cast<const char*>(payload.data()), payload.size()}, i));
    }
    pair.b.received.clear();
  }
  EXPECT_EQ(pair.a.frames().outstanding(), retained.size());
}

TEST_P(Conformance, PostTakesTheFrameOnlyWhenSent) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  FramePtr frame = pair.a.make_frame(10);
  ASSERT_EQ(pair.to_b->post(frame), SendStatus::sent);
  EXPECT_EQ(frame, nullptr);
  ASSERT_TRUE(pump_until([&] { return pair.a.frames().outstanding() == 0; }, pair.a, pair.b));
  pair.to_b->close({Errc::closed, "the test is over", {}});
  frame = pair.a.make_frame(10);
  EXPECT_EQ(pair.to_b->post(frame), SendStatus::closed);
  EXPECT_NE(frame, nullptr);
  EXPECT_EQ(pair.to_b->send(*frame), SendStatus::closed);
}

TEST_P(Conformance, AFullConnectionSaysSoAndLosesNothing) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  std::uint32_t sent = 0, got = 0;
  bool in_order = true;
  pair.b.on_data = [&](Connection&, const FrameHeader& header, std::span<const std::byte>, Buffer) {
    in_order = in_order && header.upper[0] == got;
    ++got;
  };
  // The receiver does not progress. No transport takes 64 MiB, nor forgets what it refused.
  FramePtr refused;
  while (refused == nullptr && sent < (64u << 20) / 1024) {
    FramePtr frame = pair.a.make_frame(1024, sent);
    if (pair.to_b->post(frame) == SendStatus::sent) {
      ++sent;
    } else {
      refused = std::move(frame);
    }
    if (sent % 64 == 0) pair.a.transport().progress();
  }
  ASSERT_NE(refused, nullptr) << "never refused";
  EXPECT_TRUE(pair.a.writable.empty());
  ASSERT_TRUE(pump_until([&] { return !pair.a.writable.empty(); }, pair.a, pair.b));
  EXPECT_EQ(pair.a.writable[0], pair.to_b);
  ASSERT_EQ(pair.to_b->post(refused), SendStatus::sent);
  ++sent;
  ASSERT_TRUE(pump_until([&] { return got == sent; }, pair.a, pair.b));
  EXPECT_TRUE(in_order);
  EXPECT_EQ(pair.a.writable.size(), 1u);
}

TEST_P(Conformance, HandlersMaySendAndClose) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  std::uint32_t answered = 0;
  pair.b.on_data = [&](Connection& connection, const FrameHeader& header,
                       std::span<const std::byte> payload, Buffer) {
    FramePtr reply = pair.b.make_frame(static_cast<std::uint32_t>(payload.size()), header.upper[0]);
    // The other side closes in the middle, which this side may or may not know by now.
    const SendStatus status = connection.post(reply);
    ASSERT_NE(status, SendStatus::would_block);
    answered += status == SendStatus::sent ? 1 : 0;
  };
  pair.a.on_data = [&](Connection& connection, const FrameHeader& header,
                       std::span<const std::byte>, Buffer) {
    if (header.upper[0] == 50) connection.close({Errc::closed, "enough", {}});
    pair.a.received.push_back({&connection, header, {}, false});
  };
  for (std::uint32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(post_all(pair.a, *pair.to_b, pair.a.make_frame(i, i), pair.b));
  }
  ASSERT_TRUE(
      pump_until([&] { return !pair.a.closed.empty() && !pair.b.closed.empty(); }, pair.a, pair.b));
  // Nothing is delivered behind a close, though more replies had arrived.
  EXPECT_EQ(pair.a.received.size(), 51u);
  EXPECT_GE(answered, 51u);
  EXPECT_EQ(pair.a.closed[0].reason.code, Errc::closed);
  EXPECT_EQ(pair.b.closed[0].reason.code, Errc::connection_lost);
}

// --- the end ------------------------------------------------------------------------------------

TEST_P(Conformance, CloseIsToldOnceToEachSide) {
  for (const bool dialer_closes : {true, false}) {
    Pair pair(factory);
    ASSERT_TRUE(pair.up());
    Connection& connection = dialer_closes ? *pair.to_b : *pair.to_a;
    TestEngine& closer = dialer_closes ? pair.a : pair.b;
    TestEngine& other = dialer_closes ? pair.b : pair.a;
    connection.close({Errc::closed, "the first reason", {}});
    connection.close({Errc::system, "a second one", {}});
    EXPECT_TRUE(closer.closed.empty()) << "told from inside close()";
    ASSERT_TRUE(
        pump_until([&] { return !closer.closed.empty() && !other.closed.empty(); }, closer, other));
    for (int i = 0; i < 100; ++i) {
      closer.step();
      other.step();
    }
    ASSERT_EQ(closer.closed.size(), 1u);
    ASSERT_EQ(other.closed.size(), 1u);
    EXPECT_EQ(closer.closed[0].connection, &connection);
    EXPECT_EQ(closer.closed[0].reason.code, Errc::closed);
    EXPECT_EQ(closer.closed[0].reason.message, "the first reason");
    EXPECT_EQ(other.closed[0].reason.code, Errc::connection_lost);
  }
}

TEST_P(Conformance, WhatWasSentBeforeACloseArrivesFirst) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  for (std::uint32_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(post_all(pair.a, *pair.to_b, pair.a.make_frame(100, i), pair.b));
  }
  pair.to_b->flush();
  pair.to_b->close({Errc::closed, "done", {}});
  ASSERT_TRUE(pump_until([&] { return !pair.b.closed.empty(); }, pair.a, pair.b));
  EXPECT_EQ(pair.b.received.size(), 5u);
}

TEST_P(Conformance, CloseFreesQueuedFrames) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  for (int i = 0; i < 200; ++i) {
    FramePtr frame = pair.a.make_frame(i % 5 == 0 ? 20'000 : 100);
    if (pair.to_b->post(frame) != SendStatus::sent) break;
  }
  pair.to_b->close({Errc::closed, "done", {}});
  ASSERT_TRUE(pump_until(
      [&] {
        pair.b.received.clear();
        return !pair.b.closed.empty() && pair.a.frames().outstanding() == 0 &&
               pair.a.arena().in_use() == 0;
      },
      pair.a, pair.b));
}

TEST_P(Conformance, AnEngineThatEndsIsNoticed) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  pair.b.end_transport();
  ASSERT_TRUE(pump_until([&] { return !pair.a.closed.empty(); }, pair.a));
  EXPECT_EQ(pair.a.closed[0].reason.code, Errc::connection_lost);
}

TEST_P(Conformance, ManyConnections) {
  constexpr std::size_t kConnections = 64;
  TestEngine a(factory), b(factory);
  for (std::size_t i = 0; i < kConnections; ++i) {
    ASSERT_TRUE(a.transport().connect(b.address(), kDc).has_value());
  }
  ASSERT_TRUE(pump_until(
      [&] { return a.established.size() == kConnections && b.established.size() == kConnections; },
      a, b));
  constexpr std::uint32_t kEach = 50;
  for (std::uint32_t n = 0; n < kEach; ++n) {
    for (std::size_t i = 0; i < kConnections; ++i) {
      ASSERT_TRUE(post_all(a, *a.established[i],
                           a.make_frame(64, static_cast<std::uint32_t>(i) * 1000 + n), b));
    }
  }
  ASSERT_TRUE(pump_until([&] { return b.received.size() == kConnections * kEach; }, a, b));
  std::map<Connection*, std::uint32_t> next;
  std::map<Connection*, std::uint32_t> sender;
  for (const auto& received : b.received) {
    const std::uint32_t tag = received.header.upper[0];
    const auto first = sender.try_emplace(received.connection, tag / 1000).first;
    EXPECT_EQ(tag / 1000, first->second) << "frames of two connections mixed";
    EXPECT_EQ(tag % 1000, next[received.connection]++);
  }
  EXPECT_EQ(sender.size(), kConnections);
}

TEST_P(Conformance, ReconnectingLeaksNothing) {
  TestEngine a(factory), b(factory);
  const auto once = [&] {
    ASSERT_TRUE(a.transport().connect(b.address(), kDc).has_value());
    ASSERT_TRUE(pump_until([&] { return !a.established.empty() && !b.established.empty(); }, a, b));
    Connection& connection = *a.established[0];
    FramePtr small = a.make_frame(100), large = a.make_frame(50'000);
    ASSERT_EQ(connection.post(small), SendStatus::sent);
    ASSERT_EQ(connection.post(large), SendStatus::sent);
    ASSERT_TRUE(pump_until([&] { return b.received.size() == 2; }, a, b));
    b.established[0]->close({Errc::closed, "again", {}});
    ASSERT_TRUE(pump_until([&] { return !a.closed.empty() && !b.closed.empty(); }, a, b));
    for (TestEngine* engine : {&a, &b}) {
      engine->established.clear();
      engine->closed.clear();
      engine->received.clear();
    }
  };
  ASSERT_NO_FATAL_FAILURE(once());
  const std::size_t descriptors = open_descriptors();
  const std::size_t bytes = a.frames().bytes();
  for (int i = 0; i < 200; ++i) ASSERT_NO_FATAL_FAILURE(once()) << "round " << i;
  ASSERT_TRUE(pump_until(
      [&] {
        return open_descriptors() <= descriptors && a.arena().in_use() == 0 &&
               b.arena().in_use() == 0 && a.frames().outstanding() == 0;
      },
      a, b))
      << open_descriptors() << " descriptors, before " << descriptors;
  EXPECT_EQ(a.frames().bytes(), bytes);
}

// --- waiting ------------------------------------------------------------------------------------

/// Progresses until the transport lets its engine sleep.
bool arm(TestEngine& engine) {
  return pump_until([&] { return engine.transport().progress() == 0 && engine.transport().arm(); },
                    engine);
}

TEST_P(Conformance, AnIdleEngineSleepsAndAFrameWakesIt) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  // One frame each way, so that nothing of the set-up is left to do.
  ASSERT_TRUE(post_all(pair.a, *pair.to_b, pair.a.make_frame(8), pair.b));
  ASSERT_TRUE(post_all(pair.b, *pair.to_a, pair.b.make_frame(8), pair.a));
  ASSERT_TRUE(pump_until([&] { return pair.b.received.size() == 1 && pair.a.received.size() == 1; },
                         pair.a, pair.b));
  // What watches over the delivery of those frames ends by itself.
  ASSERT_TRUE(pump_until(
      [&] {
        return pair.b.transport().next_deadline() == std::chrono::steady_clock::time_point::max();
      },
      pair.a, pair.b));
  ASSERT_TRUE(arm(pair.b));

  const auto cpu = cpu_time();
  const auto start = std::chrono::steady_clock::now();
  std::uint32_t looks = 0;
  while (std::chrono::steady_clock::now() < start + 300ms) {
    pair.b.poller().dispatch(start + 300ms - std::chrono::steady_clock::now());
    ++looks;
  }
  EXPECT_LT(cpu_time() - cpu, 10ms);
  EXPECT_LE(looks, 3u) << "woken for nothing";
  EXPECT_EQ(pair.b.received.size(), 1u);

  ASSERT_TRUE(post_all(pair.a, *pair.to_b, pair.a.make_frame(77, 3)));
  pair.to_b->flush();
  EXPECT_GT(pair.b.poller().dispatch(10s), 0u) << "slept through the frame";
  pair.b.transport().disarm();
  ASSERT_TRUE(pump_until([&] { return pair.b.received.size() == 2; }, pair.b));
  EXPECT_TRUE(TestEngine::has_pattern(pair.b.received[1].payload, 3));
}

TEST_P(Conformance, ArmPushesOutWhatIsQueued) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  for (std::uint32_t i = 0; i < 10; ++i) {
    FramePtr frame = pair.a.make_frame(64, i);
    ASSERT_EQ(pair.to_b->post(frame), SendStatus::sent);
  }
  ASSERT_TRUE(arm(pair.a));
  // a sleeps, and wakes only for what its descriptors tell.
  ASSERT_TRUE(pump_until(
      [&] {
        if (pair.a.poller().dispatch({}) != 0) arm(pair.a);
        return pair.b.received.size() == 10;
      },
      pair.b));
}

TEST_P(Conformance, ASleeperHearsOfItsPeersEnd) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  ASSERT_TRUE(arm(pair.b));
  pair.to_b->close({Errc::closed, "done", {}});
  ASSERT_TRUE(pump_until([&] { return !pair.a.closed.empty(); }, pair.a));
  EXPECT_GT(pair.b.poller().dispatch(10s), 0u);
  pair.b.transport().disarm();
  ASSERT_TRUE(pump_until([&] { return !pair.b.closed.empty(); }, pair.b));
}

TEST_P(Conformance, ASenderSleepsUntilThereIsRoom) {
  Pair pair(factory);
  ASSERT_TRUE(pair.up());
  std::uint32_t sent = 0;
  FramePtr frame;
  do {
    frame = pair.a.make_frame(1024, sent);
    if (sent % 64 == 0) pair.a.transport().progress();
  } while (pair.to_b->post(frame) == SendStatus::sent && ++sent < 100'000);
  ASSERT_NE(frame, nullptr);
  while (pair.a.transport().progress() != 0) {
  }
  // Both engines sleep whenever they may, and wake each other. A transport that loses a wake-up
  // never gets to the end.
  const auto until = std::chrono::steady_clock::now() + 20s;
  while (pair.a.writable.empty() && std::chrono::steady_clock::now() < until) {
    for (TestEngine* engine : {&pair.b, &pair.a}) {
      engine->transport().progress();
      if (engine->transport().arm()) {
        engine->poller().dispatch(2ms);
        engine->transport().disarm();
      }
    }
  }
  ASSERT_FALSE(pair.a.writable.empty());
  ASSERT_EQ(pair.to_b->post(frame), SendStatus::sent);
  ASSERT_TRUE(pump_until([&] { return pair.b.received.size() == sent + 1; }, pair.a, pair.b));
}

INSTANTIATE_TEST_SUITE_P(Transports, Conformance, ::testing::ValuesIn(transport_factories()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace godwit::fabric::testing
