// What only the tcp transport can be asked: strangers at its door, silent hosts, tiny buffers.

#include "tcp/tcp_transport.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <random>

#include "fabric/test_engine.h"
#include "tcp/handshake_prefix.h"

namespace godwit::fabric::tcp {
namespace {

using namespace std::chrono_literals;
using testing::EngineSetup;
using testing::kDc;
using testing::pump_until;
using testing::TestEngine;
using testing::TransportFactory;

TransportFactory factory_with(TcpOptions options) {
  return {"tcp", [options](TransportContext& context, const std::optional<Handshake::Offer>&) {
            return std::make_unique<TcpTransport>(context, options);
          }};
}

/// A plain client of the listener, which blocks for at most a few seconds.
Socket stranger(const EngineAddress& address) {
  auto name = SocketName::of(address.tcp.at(0)).value();
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(socket.get(), name.get(), name.size), 0);
  const timeval limit{.tv_sec = 5, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return socket;
}

/// The descriptor of this process whose TCP socket has that port at the other end.
int descriptor_towards(std::uint16_t port) {
  for (int fd = 3; fd < 1024; ++fd) {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 &&
        peer.sin_family == AF_INET && ntohs(peer.sin_port) == port) {
      return fd;
    }
  }
  return -1;
}

/// From now on nothing reaches this socket. With both ends unplugged each sees of the other what it
/// sees of a host that lost its power.
void unplug(int fd) {
  sock_filter drop{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
  const sock_fprog program{.len = 1, .filter = &drop};
  ASSERT_EQ(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
}

struct TcpPair {
  explicit TcpPair(TransportFactory& factory, const EngineSetup& setup = {})
      : a(factory, setup), b(factory, setup) {
    EXPECT_TRUE(a.transport().connect(b.address(), kDc).has_value());
    EXPECT_TRUE(pump_until([&] { return !a.established.empty() && !b.established.empty(); }, a, b));
    to_b = a.established.at(0);
    to_a = b.established.at(0);
    // a's socket is the one whose other end is b's listening port; b's is the other end of it.
    a_fd = descriptor_towards(b.address().tcp.at(0).port);
    sockaddr_in name{};
    socklen_t size = sizeof name;
    EXPECT_EQ(getsockname(a_fd, reinterpret_cast<sockaddr*>(&name), &size), 0);
    b_fd = descriptor_towards(ntohs(name.sin_port));
  }
  TestEngine a, b;
  Connection* to_b = nullptr;
  Connection* to_a = nullptr;
  int a_fd = -1, b_fd = -1;
};

class TcpTransportTest : public ::testing::Test {
 protected:
  TransportFactory factory = factory_with({});
};

TEST_F(TcpTransportTest, GarbageIsShutOutAndOthersAreServed) {
  TestEngine server(factory, {.handshake_timeout = 300ms});
  Handshake dialer = Handshake::dial(
      {EngineId::random(), "n", [](std::uint32_t) { return testing::key_of(1); }}, kDc, {});
  const std::string hello = prefixed(dialer.take_output().at(0));
  std::mt19937_64 random(20'000);
  std::string noise(100'000, '\0');
  for (char& c : noise) c = static_cast<char>(random());

  const std::vector<std::string> inputs = {
      "",   // says nothing
      "G",  // the magic, but no more of it
      "GET / HTTP/1.1\r\n\r\n",
      noise,
      hello.substr(0, 20),             // truncated
      std::string("GWT1\xff\xff", 6),  // a length above the limit
      std::string("GWT1\0\0", 6),      // an empty message
      std::string("GWT1\x05\0hello", 11),
      hello + hello,  // a Hello in place of the proof
      hello + noise,
  };
  std::vector<Socket> strangers;
  for (const std::string& input : inputs) {
    strangers.push_back(stranger(server.address()));
    // The server may close in the middle of it.
    (void)::send(strangers.back().get(), input.data(), input.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  ASSERT_TRUE(pump_until([&] { return server.closed.size() == inputs.size(); }, server));
  EXPECT_TRUE(server.established.empty());
  for (const Socket& socket : strangers) {
    char byte[4096];
    ssize_t size = 0;
    while ((size = ::recv(socket.get(), byte, sizeof byte, 0)) > 0) {
    }
    EXPECT_TRUE(size == 0 || errno == ECONNRESET) << "not closed";
  }
  TestEngine client(factory);
  ASSERT_TRUE(client.transport().connect(server.address(), kDc).has_value());
  ASSERT_TRUE(pump_until([&] { return !client.established.empty() && !server.established.empty(); },
                         client, server));
}

TEST_F(TcpTransportTest, StrangersCannotHoldMoreThanTheirShare) {
  TestEngine server(factory, {.handshake_timeout = 500ms});
  std::vector<Socket> strangers;
  for (std::size_t i = 0; i < TcpTransport::kMaxUnproved + 20; ++i) {
    strangers.push_back(stranger(server.address()));
    server.step();
  }
  ASSERT_TRUE(
      pump_until([&] { return server.closed.size() == TcpTransport::kMaxUnproved; }, server));
  for (int i = 0; i < 20; ++i) server.step();
  EXPECT_EQ(server.closed.size(), TcpTransport::kMaxUnproved) << "those above it never came in";
}

TEST_F(TcpTransportTest, OutOfDescriptorsTheListenerRestsAndRecovers) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the undefined-behaviour sanitizer looks at objects by way of pipes";
#endif
  TestEngine server(factory), client(factory);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(client.transport().connect(server.address(), kDc).has_value());
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  std::uint32_t ready = 0;
  for (int i = 0; i < 50; ++i) {
    server.transport().progress();
    ready += server.poller().dispatch({});
  }
  const auto deadline = server.transport().next_deadline();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_LE(ready, 3u) << "a busy loop over the connection that cannot be accepted";
  EXPECT_LT(deadline, std::chrono::steady_clock::now() + 1s);
  EXPECT_TRUE(pump_until([&] { return !client.established.empty(); }, client, server));
}

TEST_F(TcpTransportTest, PartialWritesOfSmallFramesResume) {
  TransportFactory tiny = factory_with({.send_buffer = 1, .offer = {}});
  TcpPair pair(tiny);
  constexpr std::uint32_t kFrames = 3000;
  std::uint32_t sent = 0, got = 0;
  pair.b.on_data = [&](Connection&, const FrameHeader& header, std::span<const std::byte> payload,
                       Buffer) {
    ASSERT_EQ(header.upper[0], got);
    ASSERT_TRUE(TestEngine::has_pattern(
        {reinterpret_cast<const char*>(payload.data()), payload.size()}, got));
    ++got;
  };
  ASSERT_TRUE(pump_until(
      [&] {
        while (sent < kFrames) {
          FramePtr frame = pair.a.make_frame(sent * 37 % 700, sent);
          if (pair.to_b->post(frame) != SendStatus::sent) break;
          ++sent;
        }
        return got == kFrames;
      },
      pair.a, pair.b));
}

TEST_F(TcpTransportTest, ALoneFrameLeavesAtOnceAndABurstTogether) {
  TcpPair pair(factory);
  // Waits for what the kernel has on its way, without a step of the sender.
  const auto arrives = [&](int frames) {
    return pump_until([&] {
      int bytes = 0;
      EXPECT_EQ(ioctl(pair.b_fd, FIONREAD, &bytes), 0);
      return bytes >= frames * static_cast<int>(sizeof(FrameHeader) + 64);
    });
  };
  const auto post = [&] {
    FramePtr frame = pair.a.make_frame(64);
    ASSERT_EQ(pair.to_b->post(frame), SendStatus::sent);
  };
  // Long after the last write (each step takes the clock further).
  ASSERT_TRUE(pump_until(
      [&, start = std::chrono::steady_clock::now()] {
        return std::chrono::steady_clock::now() > start + 1ms;
      },
      pair.a));
  post();
  EXPECT_TRUE(arrives(1));
  // A burst faster than the pace; however slow this machine is, the last ones stay queued or have
  // left by the rule, and flush() leaves none behind.
  for (int i = 1; i < 10; ++i) post();
  pair.to_b->flush();
  EXPECT_TRUE(arrives(10));
  // Whatever the clock does, less than one batch is left waiting.
  for (std::size_t i = 0; i < 2 * WritePacer::kBatchFrames; ++i) post();
  EXPECT_TRUE(arrives(138));
}

TEST_F(TcpTransportTest, ASilentHostIsNoticedWithinASecondWhileBytesAreOnTheirWay) {
  TcpPair pair(factory);
  unplug(pair.b_fd);
  unplug(pair.a_fd);
  FramePtr frame = pair.a.make_frame(64);
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(pair.to_b->post(frame), SendStatus::sent);
  // As a blocked engine waits: until something arrives or the transport asks for a look.
  while (pair.a.closed.empty() && std::chrono::steady_clock::now() < start + 5s) {
    pair.a.transport().progress();
    if (pair.a.closed.empty() && pair.a.transport().arm()) {
      const auto until = std::min(pair.a.transport().next_deadline(), start + 5s);
      pair.a.poller().dispatch(std::max(until - std::chrono::steady_clock::now(), 0ns));
    }
  }
  ASSERT_EQ(pair.a.closed.size(), 1u);
  EXPECT_EQ(pair.a.closed[0].reason.code, Errc::connection_lost);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 1500ms);
}

TEST_F(TcpTransportTest, ASilentHostIsNoticedByTheKernelWhileNothingIsOnItsWay) {
  TcpPair pair(factory);
  // The last message has been acknowledged before the host goes.
  ASSERT_TRUE(
      pump_until([&] { return pair.a.transport().next_deadline() == TcpTransport::Time::max(); },
                 pair.a, pair.b));
  unplug(pair.b_fd);
  unplug(pair.a_fd);
  EXPECT_TRUE(pump_until([&] { return !pair.a.closed.empty(); }, 4s, pair.a));
  ASSERT_EQ(pair.a.closed.size(), 1u);
  EXPECT_EQ(pair.a.closed[0].reason.code, Errc::connection_lost);
}

TEST_F(TcpTransportTest, APeerThatDoesNotReadForLongIsNotGivenUp) {
  TcpPair pair(factory);
  std::uint32_t sent = 0;
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() < start + 2500ms) {
    FramePtr frame = pair.a.make_frame(100'000, sent);
    if (!frame->large.empty() && pair.to_b->post(frame) == SendStatus::sent) ++sent;
    frame.reset();
    pair.a.transport().progress();
    pair.a.poller().dispatch(1ms);
  }
  ASSERT_TRUE(pair.a.closed.empty()) << pair.a.closed[0].reason.to_string();
  ASSERT_TRUE(pump_until([&] { return pair.b.received.size() == sent; }, pair.a, pair.b));
}

TEST_F(TcpTransportTest, AStaleAddressIsNoticed) {
  TestEngine a(factory), b(factory);
  EngineAddress stale = b.address();
  stale.engine = EngineId::random();
  ASSERT_TRUE(a.transport().connect(stale, kDc).has_value());
  ASSERT_TRUE(pump_until([&] { return !a.closed.empty(); }, a, b));
  EXPECT_EQ(a.closed[0].reason.code, Errc::unreachable);
}

TEST_F(TcpTransportTest, TheNextOfSeveralAddressesIsTried) {
  TestEngine a(factory), b(factory);
  EngineAddress address = b.address();
  {
    TestEngine gone(factory);
    address.tcp.insert(address.tcp.begin(), gone.address().tcp.at(0));
  }
  ASSERT_TRUE(a.transport().connect(address, kDc).has_value());
  EXPECT_TRUE(pump_until([&] { return !a.established.empty(); }, a, b));
}

TEST_F(TcpTransportTest, ListensOnAGivenPort) {
  const std::uint16_t free_port = [&] {
    TestEngine probe(factory);
    return probe.address().tcp.at(0).port;
  }();
  TransportFactory fixed = factory_with({.port = free_port, .offer = {}});
  TestEngine c(fixed);
  ASSERT_FALSE(c.address().tcp.empty());
  EXPECT_EQ(c.address().tcp[0].port, free_port);
}

}  // namespace
}  // namespace godwit::fabric::tcp
