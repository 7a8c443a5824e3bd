#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "peers/child.h"

namespace godwit::bench {

namespace {

/// What one process reads from and writes to.
struct End {
  int in;
  int out;
};

Timing ping_pong(const PeerOptions& options, End parent, End child_end) {
  const std::uint64_t total = options.warmup + options.count;
  Child child(options, [&] {
    std::vector<std::byte> payload(options.size);
    for (std::uint64_t i = 0; i < total; ++i) {
      read_all(child_end.in, payload.data(), payload.size());
      write_all(child_end.out, payload.data(), payload.size());
    }
  });
  std::vector<std::byte> payload(options.size);
  const auto round_trips = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      write_all(parent.out, payload.data(), payload.size());
      read_all(parent.in, payload.data(), payload.size());
    }
  };
  round_trips(options.warmup);
  return time_batches(options.count, 100, round_trips);
}

struct TcpPair {
  Descriptor client;
  Descriptor server;
};

TcpPair connect_over_loopback() {
  const Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener.get(), generic, length) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), generic, &length) != 0)
    fail_errno("listen");
  TcpPair pair;
  pair.client = Descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(pair.client.get(), generic, length) != 0) fail_errno("connect");
  pair.server = Descriptor(accept(listener.get(), nullptr, nullptr));
  if (pair.server.get() < 0) fail_errno("accept");
  const int on = 1;
  for (const int fd : {pair.client.get(), pair.server.get()}) {
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail_errno("TCP_NODELAY");
  }
  return pair;
}

}  // namespace

Timing pipe_ping_pong(const PeerOptions& options) {
  std::array<int, 2> there{};
  std::array<int, 2> back{};
  if (pipe(there.data()) != 0) fail_errno("pipe");
  const Descriptor there_in(there[0]);
  const Descriptor there_out(there[1]);
  if (pipe(back.data()) != 0) fail_errno("pipe");
  const Descriptor back_in(back[0]);
  const Descriptor back_out(back[1]);
  return ping_pong(options, {back[0], there[1]}, {there[0], back[1]});
}

Timing unix_ping_pong(const PeerOptions& options) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) fail_errno("socketpair");
  const Descriptor parent(ends[0]);
  const Descriptor child(ends[1]);
  return ping_pong(options, {ends[0], ends[0]}, {ends[1], ends[1]});
}

Timing tcp_ping_pong(const PeerOptions& options) {
  const TcpPair pair = connect_over_loopback();
  return ping_pong(options, {pair.client.get(), pair.client.get()},
                   {pair.server.get(), pair.server.get()});
}

Timing tcp_stream(const PeerOptions& options) {
  const TcpPair pair = connect_over_loopback();
  Child child(options, [&] {
    std::vector<std::byte> payload(options.size);
    for (const std::uint64_t phase : {options.warmup, options.count}) {
      for (std::uint64_t i = 0; i < phase; ++i)
        read_all(pair.server.get(), payload.data(), payload.size());
      write_all(pair.server.get(), payload.data(), 1);
    }
  });
  std::vector<std::byte> payload(options.size);
  const auto stream = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i)
      write_all(pair.client.get(), payload.data(), payload.size());
    std::byte confirmed;
    read_all(pair.client.get(), &confirmed, 1);
  };
  stream(options.warmup);
  return time_batches(options.count, 1, stream);
}

std::span<const PeerTest> peer_tests() {
  static constexpr PeerTest kTests[] = {
      {"futex", "two sleeping processes wake each other", futex_ping_pong},
      {"pipe", "ping-pong over two pipes", pipe_ping_pong},
      {"unix", "ping-pong over a Unix socket", unix_ping_pong},
      {"tcp", "ping-pong over loopback TCP", tcp_ping_pong},
      {"tcp-stream", "one way over loopback TCP", tcp_stream},
  };
  return kTests;
}

}  // namespace godwit::bench
