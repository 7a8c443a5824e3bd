#include "agent/tcp_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace godwit::node {

namespace {

constexpr int kBacklog = 64;

struct RawAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<RawAddress> to_raw(const fabric::SocketAddress& address) {
  RawAddress raw;
  if (auto* v4 = reinterpret_cast<sockaddr_in*>(&raw.storage);
      ::inet_pton(AF_INET, address.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    raw.size = sizeof *v4;
    return raw;
  }
  if (auto* v6 = reinterpret_cast<sockaddr_in6*>(&raw.storage);
      ::inet_pton(AF_INET6, address.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
    raw.size = sizeof *v6;
    return raw;
  }
  return fail(Errc::invalid_argument, "'" + address.host + "' is no numeric address");
}

Result<int> make_socket(const RawAddress& raw) {
  const int fd =
      ::socket(raw.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return fail_errno("cannot make a TCP socket");
  return fd;
}

}  // namespace

std::string to_text(const fabric::SocketAddress& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

Result<fabric::SocketAddress> parse_socket_address(std::string_view text) {
  const auto bad = [&] {
    return fail(Errc::invalid_argument, "'" + std::string(text) + "' is no HOST:PORT");
  };
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  fabric::SocketAddress address{std::string(host), 0};
  const auto [end, error] =
      std::from_chars(text.data() + colon + 1, text.data() + text.size(), address.port);
  if (error != std::errc() || end != text.data() + text.size() || address.port == 0) return bad();
  return address;
}

Result<int> connect_tcp(const fabric::SocketAddress& address, int& progress) {
  auto raw = to_raw(address);
  if (!raw) return tl::make_unexpected(std::move(raw.error()));
  auto fd = make_socket(*raw);
  if (!fd) return fd;
  progress = ::connect(*fd, raw->get(), raw->size) == 0 ? 0 : errno;
  return fd;
}

Result<int> listen_tcp(fabric::SocketAddress& address) {
  auto raw = to_raw(address);
  if (!raw) return tl::make_unexpected(std::move(raw.error()));
  auto fd = make_socket(*raw);
  if (!fd) return fd;
  const int one = 1;
  ::setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(*fd, raw->get(), raw->size) != 0 || ::listen(*fd, kBacklog) != 0) {
    auto error = fail_errno("cannot listen on " + to_text(address));
    ::close(*fd);
    return error;
  }
  raw->size = sizeof raw->storage;
  ::getsockname(*fd, reinterpret_cast<sockaddr*>(&raw->storage), &raw->size);
  address.port = ntohs(raw->storage.ss_family == AF_INET
                           ? reinterpret_cast<const sockaddr_in*>(&raw->storage)->sin_port
                           : reinterpret_cast<const sockaddr_in6*>(&raw->storage)->sin6_port);
  return fd;
}

}  // namespace godwit::node
