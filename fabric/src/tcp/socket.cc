#include "tcp/socket.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cstring>

namespace godwit::fabric::tcp {

namespace {
constexpr std::uint32_t kSilenceMs = 600;
constexpr int kUnansweredRepeats = 2;
constexpr int kKeepaliveSeconds = 1;
constexpr int kKeepaliveProbes = 1;

// A socket works without any of these, only later or less well, so a refusal is no error.
void set(int fd, int level, int option, int value) noexcept {
  (void)setsockopt(fd, level, option, &value, sizeof value);
}
}  // namespace

Result<SocketName> SocketName::of(const SocketAddress& address) {
  SocketName name;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&name.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&name.storage);
  if (inet_pton(AF_INET, address.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    name.size = sizeof *v4;
  } else if (inet_pton(AF_INET6, address.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
    name.size = sizeof *v6;
  } else {
    return fail(Errc::invalid_argument,
                "'" + address.host + "' is no numeric IPv4 or IPv6 address");
  }
  return name;
}

Result<Socket> Socket::create(int family) {
  Socket socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("cannot create a TCP socket");
  return socket;
}

void Socket::reset() noexcept {
  // close() reports nothing that a socket's owner could act on; the descriptor is gone either way.
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

std::uint16_t Socket::port() const noexcept {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return 0;
  return ntohs(storage.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(storage).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(storage).sin_port);
}

void Socket::tune(int send_buffer, int receive_buffer) const noexcept {
  set(fd_, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd_, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd_, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveSeconds);
  set(fd_, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveSeconds);
  set(fd_, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
  if (send_buffer > 0) set(fd_, SOL_SOCKET, SO_SNDBUF, send_buffer);
  if (receive_buffer > 0) set(fd_, SOL_SOCKET, SO_RCVBUF, receive_buffer);
}

Socket::Delivery Socket::delivery() const noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return Delivery::pending;
  // The kernel repeats lost bytes, or asks again for a window, after about 400, 800, 1600 ms ...;
  // each answer, even one that accepts nothing, renews tcpi_last_ack_recv.
  const bool repeated =
      info.tcpi_retransmits >= kUnansweredRepeats || info.tcpi_probes >= kUnansweredRepeats;
  if (repeated && info.tcpi_last_ack_recv >= kSilenceMs) return Delivery::unanswered;
  return info.tcpi_unacked == 0 ? Delivery::acknowledged : Delivery::pending;
}

}  // namespace godwit::fabric::tcp
