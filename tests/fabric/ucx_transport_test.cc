// The ucx transport over UCX's tcp and posix transports: what the conformance suite does not ask.
#include <gtest/gtest.h>

#ifdef GODWIT_HAVE_UCX

#include <arpa/inet.h>
#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "fabric/own_resources.h"
#include "ucx_engine.h"

namespace godwit::fabric::ucx {
namespace {

using namespace std::chrono_literals;
using testing::open_descriptors;

class Ucx : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string why = unavailable(GetParam()); !why.empty()) GTEST_SKIP() << why;
  }

  /// Joins two engines; null if it fails.
  static Connection* join(UcxEngine& from, UcxEngine& to) {
    const std::size_t before = to.live.size();
    auto dialed = from.transport->connect(to.address, UcxEngine::kDc);
    if (!dialed) return nullptr;
    const bool joined = run_until({&from, &to}, [&] {
      return ((*dialed)->established() && to.live.size() > before) || !from.closed.empty();
    });
    if (!from.closed.empty()) ADD_FAILURE() << from.closed[0].to_string();
    return joined && from.closed.empty() ? *dialed : nullptr;
  }
};

TEST_P(Ucx, KeepsOrderAndBytesAcrossEagerAndRendezvous) {
  UcxEngine a(GetParam()), b(GetParam());
  Connection* to_b = join(a, b);
  ASSERT_NE(to_b, nullptr);
  std::uint32_t expected = 0;
  b.on_message = [&](Connection&, const FrameHeader& header, std::span<const std::byte> payload,
                     const Buffer& large) {
    ASSERT_EQ(header.upper[0], expected++);
    ASSERT_EQ(header.fabric, 0u);
    ASSERT_TRUE(UcxEngine::intact(header, payload)) << header.length << " bytes";
    ASSERT_EQ(large.empty(), header.length <= kSmallPayload);
  };
  constexpr std::uint32_t kSizes[] = {0, 64, 2048, 1 << 20, 1, 2049, 100, 65535, 64, 65536, 8, 96};
  constexpr std::uint32_t kFrames = 1200;
  std::vector<FramePtr> retained;
  std::uint32_t next = 0;
  FramePtr frame;
  ASSERT_TRUE(run_until({&a, &b}, [&] {
    while (next < kFrames) {
      if (frame == nullptr) frame = a.frame(kSizes[next % std::size(kSizes)], next);
      const bool retain = next % 3 == 0;
      const SendStatus status = retain ? to_b->send(*frame) : to_b->post(frame);
      EXPECT_NE(status, SendStatus::closed);
      if (status != SendStatus::sent) break;
      if (retain) retained.push_back(std::move(frame));
      frame = nullptr;
      ++next;
    }
    return expected == kFrames;
  }));
  EXPECT_EQ(to_b->counters().frames_sent, kFrames);
  EXPECT_EQ(b.live[0]->counters().frames_received, kFrames);
  EXPECT_EQ(to_b->counters().bytes_sent, b.live[0]->counters().bytes_received);
  retained.clear();
  EXPECT_TRUE(run_until({&a, &b}, [&] { return a.clean() && b.clean(); }));
}

TEST_P(Ucx, AnswersWouldBlockAndSaysWhenThereIsRoom) {
  UcxEngine a(GetParam()), b(GetParam());
  Connection* to_b = join(a, b);
  ASSERT_NE(to_b, nullptr);
  std::uint32_t sent = 0;
  for (;; ++sent) {  // the peer does nothing meanwhile
    FramePtr frame = a.frame(2048, sent);
    const SendStatus status = to_b->post(frame);
    if (status == SendStatus::would_block) break;
    ASSERT_EQ(status, SendStatus::sent);
    ASSERT_EQ(frame, nullptr);
    ASSERT_LT(sent, 1'000'000u);
  }
  EXPECT_EQ(a.writable, 0u);
  EXPECT_TRUE(run_until({&a, &b}, [&] { return b.received == sent && a.writable == 1; }));
  EXPECT_TRUE(a.clean());
}

TEST_P(Ucx, BoundsWhatIsHeldBackBehindARendezvous) {
  UcxEngine a(GetParam()), b(GetParam());
  Connection* to_b = join(a, b);
  ASSERT_NE(to_b, nullptr);
  FramePtr large = a.frame(4 << 20, 0);
  ASSERT_EQ(to_b->send(*large), SendStatus::sent);
  std::uint32_t sent = 1;
  for (;; ++sent) {
    FramePtr frame = a.frame(1, sent);
    if (to_b->post(frame) == SendStatus::would_block) break;
    ASSERT_LE(sent, kSendWindow);
  }
  EXPECT_TRUE(run_until({&a, &b}, [&] { return b.received == sent && a.writable == 1; }));
}

TEST_P(Ucx, DropsAPayloadThatHasNoPlaceAndKeepsItsFrame) {
  UcxEngine a(GetParam()), b(GetParam());
  Connection* to_b = join(a, b);
  ASSERT_NE(to_b, nullptr);
  b.refuse_places = true;
  std::vector<std::uint32_t> lengths;
  b.on_message = [&](Connection&, const FrameHeader& header, std::span<const std::byte> payload,
                     const Buffer&) {
    lengths.push_back(header.length);
    EXPECT_EQ(payload.size(), header.length > kSmallPayload ? 0u : header.length);
  };
  for (const std::uint32_t length : {1u << 20, 10u, 4096u, 20u}) {
    FramePtr frame = a.frame(length, 0);
    ASSERT_EQ(to_b->post(frame), SendStatus::sent);
  }
  ASSERT_TRUE(run_until({&a, &b}, [&] { return lengths.size() == 4; }));
  EXPECT_EQ(lengths, (std::vector<std::uint32_t>{1u << 20, 10, 4096, 20}));
  EXPECT_TRUE(run_until({&a, &b}, [&] { return a.clean() && b.clean(); }));
}

TEST_P(Ucx, ClosingUnderTrafficReturnsEveryFrame) {
  UcxEngine a(GetParam()), b(GetParam());
  for (int round = 0; round < 10; ++round) {
    Connection* to_b = join(a, b);
    ASSERT_NE(to_b, nullptr) << "round " << round;
    std::vector<FramePtr> retained;
    for (std::uint32_t i = 0; i < 8; ++i) {
      retained.push_back(a.frame(i % 2 == 0 ? 1u << 20 : 64u, i));
      ASSERT_EQ(to_b->send(*retained.back()), SendStatus::sent);
    }
    // Stop at another point of the transfers each time, and from either side.
    for (int step = 0; step < round * 3; ++step) {
      a.transport->progress();
      b.transport->progress();
    }
    Connection& closer = round % 2 == 0 ? *to_b : *b.live[0];
    closer.close({Errc::closed, "test", {}});
    FramePtr late = a.frame(8, 0);
    EXPECT_EQ(closer.post(late), SendStatus::closed);
    EXPECT_NE(late, nullptr);
    late = nullptr;
    retained.clear();  // pinned ones go home when UCX lets go of them
    ASSERT_TRUE(run_until({&a, &b}, [&] { return a.live.empty() && b.live.empty(); }));
    EXPECT_TRUE(run_until(
        {&a, &b}, [&] { return a.clean() && b.clean(); }, 2s))
        << "round " << round << ": " << a.transport->unfinished() << " and "
        << b.transport->unfinished() << " operations unfinished";
    a.closed.clear();
    b.closed.clear();
  }
}

TEST_P(Ucx, TwoHundredReconnectsLeakNothing) {
  UcxEngine a(GetParam()), b(GetParam());
  std::size_t descriptors = 0;
  for (int round = 0; round < 200; ++round) {
    Connection* to_b = join(a, b);
    ASSERT_NE(to_b, nullptr) << "round " << round;
    FramePtr frame = a.frame(64, 0);
    ASSERT_EQ(to_b->post(frame), SendStatus::sent);
    const std::size_t expected = b.received + 1;
    ASSERT_TRUE(run_until({&a, &b}, [&] { return b.received == expected; }));
    to_b->close({Errc::closed, "test", {}});
    ASSERT_TRUE(run_until({&a, &b}, [&] { return a.live.empty() && b.live.empty(); }));
    ASSERT_EQ(a.closed.back().code, Errc::closed);
    ASSERT_EQ(b.closed.back().code, Errc::connection_lost);
    a.closed.clear();
    b.closed.clear();
    if (round == 9) descriptors = open_descriptors();
  }
  EXPECT_TRUE(a.clean() && b.clean());
  EXPECT_TRUE(run_until(
      {&a, &b}, [&] { return open_descriptors() <= descriptors; }, 2s))
      << descriptors << " descriptors grew to " << open_descriptors();
}

TEST_P(Ucx, ManyConnectionsOfOneEngine) {
  UcxEngine a(GetParam()), b(GetParam());
  constexpr std::size_t kConnections = 100;
  std::vector<Connection*> connections;
  for (std::size_t i = 0; i < kConnections; ++i) {
    auto dialed = a.transport->connect(b.address, UcxEngine::kDc);
    ASSERT_TRUE(dialed);
    connections.push_back(*dialed);
  }
  ASSERT_TRUE(run_until(
      {&a, &b}, [&] { return a.live.size() == kConnections && b.live.size() == kConnections; }));
  for (std::uint32_t i = 0; i < 10 * kConnections; ++i) {
    FramePtr frame = a.frame(100, i);
    ASSERT_EQ(connections[i % kConnections]->post(frame), SendStatus::sent);
  }
  ASSERT_TRUE(run_until({&a, &b}, [&] { return b.received == 10 * kConnections; }));
  for (const Connection* connection : b.live)
    EXPECT_EQ(connection->counters().frames_received, 10u);
}

TEST_P(Ucx, SleepsWithoutCpuAndWakesForAFrame) {
  UcxEngine a(GetParam());
  std::atomic<bool> ready{false}, go{false}, done{false};
  const EngineAddress address = a.address;
  std::thread other([&] {
    UcxEngine b(GetParam());
    auto dialed = b.transport->connect(address, UcxEngine::kDc);
    if (!dialed || !run_until({&b}, [&] { return !b.live.empty(); })) return;
    ready = true;
    run_until({&b}, [&] { return go.load(); });
    FramePtr frame = b.frame(64, 1);
    EXPECT_EQ((*dialed)->post(frame), SendStatus::sent);
    run_until({&b}, [&] { return done.load(); });
  });
  ASSERT_TRUE(run_until({&a}, [&] { return !a.live.empty() && ready.load(); }));
  std::size_t sleeps = 0;
  const auto sleep_until = [&](auto condition) {
    while (!condition()) {
      if (a.transport->progress() != 0 || !a.transport->arm()) continue;
      ++sleeps;
      a.poller->dispatch(std::max(0ns, std::chrono::nanoseconds(a.transport->next_deadline() -
                                                                std::chrono::steady_clock::now())));
      a.transport->disarm();
    }
  };
  const auto idle_until = std::chrono::steady_clock::now() + 1500ms;
  sleep_until([&] { return std::chrono::steady_clock::now() > idle_until; });
  EXPECT_LE(sleeps, 30u) << "an idle engine is woken again and again";
  const auto sent_at = std::chrono::steady_clock::now();
  go = true;
  sleep_until([&] { return a.received == 1; });
  EXPECT_LT(std::chrono::steady_clock::now() - sent_at, 900ms) << "only the bounded sleep ended";
  done = true;
  other.join();
}

INSTANTIATE_TEST_SUITE_P(Over, Ucx, ::testing::Values("tcp", "posix,tcp", kRdma),
                         [](const auto& each) {
                           return std::string(each.param, std::strcspn(each.param, ","));
                         });

TEST(UcxHandshake, WrongKeyIsToldToBothSides) {
  UcxEngine a("tcp", 1), b("tcp", 2);
  ASSERT_TRUE(a.transport->connect(b.address, UcxEngine::kDc));
  ASSERT_TRUE(run_until(
      {&a, &b}, [&] { return !a.closed.empty() && !b.closed.empty(); }, 3s));
  EXPECT_EQ(a.closed[0].code, Errc::wrong_key) << a.closed[0].to_string();
  EXPECT_EQ(b.closed[0].code, Errc::wrong_key) << b.closed[0].to_string();
  EXPECT_TRUE(a.live.empty() && b.live.empty());
}

TEST(UcxHandshake, NobodyListens) {
  UcxEngine a("tcp");
  EngineAddress gone;
  {
    UcxEngine b("tcp");
    gone = b.address;
  }
  ASSERT_TRUE(a.transport->connect(gone, UcxEngine::kDc));
  ASSERT_TRUE(run_until(
      {&a}, [&] { return !a.closed.empty(); }, 3s));
  EXPECT_EQ(a.closed[0].code, Errc::unreachable) << a.closed[0].to_string();
  EXPECT_TRUE(a.clean());
}

TEST(UcxHandshake, APeerThatSaysNothingIsGivenUp) {
  const int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(silent, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(silent, 8), 0);
  socklen_t size = sizeof address;
  getsockname(silent, reinterpret_cast<sockaddr*>(&address), &size);
  UcxEngine a("tcp", 1, 300ms);
  EngineAddress peer = a.address;
  peer.ucx = {{"127.0.0.1", ntohs(address.sin_port)}};
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(a.transport->connect(peer, UcxEngine::kDc));
  ASSERT_TRUE(run_until(
      {&a}, [&] { return !a.closed.empty(); }, 3s));
  EXPECT_EQ(a.closed[0].code, Errc::unreachable) << a.closed[0].to_string();
  EXPECT_GE(std::chrono::steady_clock::now() - start, 300ms);
  ::close(silent);
}

TEST(UcxOptions, BadOnesAreRefusedWithASentence) {
  UcxEngine engine("tcp");
  struct UcxOptions options;
  options.tls = "no-such-transport";
  EXPECT_FALSE(UcxTransport::create(*engine.context, options));
  options = {};
  options.rendezvous_threshold = 100;
  const auto refused = UcxTransport::create(*engine.context, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
}

TEST(UcxProcess, KeepsNoSignalHandlerOfUcx) {
  UcxEngine engine("tcp");
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGHUP}) {
    struct sigaction current {};
    ASSERT_EQ(sigaction(signal, nullptr, &current), 0);
    Dl_info info{};
    if (dladdr(reinterpret_cast<void*>(current.sa_sigaction), &info) == 0) continue;
    EXPECT_EQ(std::string(info.dli_fname).find("libucs"), std::string::npos) << signal;
  }
}

}  // namespace
}  // namespace godwit::fabric::ucx

#else

TEST(Ucx, Transport) {
  GTEST_SKIP() << "this build has no UCX";
}

#endif
