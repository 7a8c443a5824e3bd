#include "readiness_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace godwit::local_cluster {

Result<ReadinessSocket> ReadinessSocket::open(std::string path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail(Errc::invalid_argument, "the path of a socket is too long: " + path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_errno("cannot make a socket");
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int bind_errno = errno;
    ::close(fd);
    errno = bind_errno;
    return fail_errno("cannot bind the socket " + path);
  }
  return ReadinessSocket(fd, std::move(path));
}

ReadinessSocket::ReadinessSocket(ReadinessSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::exchange(other.path_, {})) {}

ReadinessSocket& ReadinessSocket::operator=(ReadinessSocket&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

ReadinessSocket::~ReadinessSocket() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(path_.c_str());
}

Result<void> ReadinessSocket::wait(ChildProcess& program, std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + limit;
  std::array<char, 512> text;
  while (true) {
    const ssize_t size = ::recv(fd_, text.data(), text.size(), MSG_DONTWAIT);
    if (size > 0) {
      const std::string_view said(text.data(), static_cast<std::size_t>(size));
      if (said.find("READY=1") != std::string_view::npos) return {};
      continue;
    }
    while (program.next_line()) {
    }
    if (const auto status = program.ended()) {
      return fail(Errc::system, "ended with " + status->to_string());
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return fail(Errc::deadline_exceeded, "is not ready in time");
    // Its output ends with it. One that closed its output and lives is looked at now and then.
    std::array<pollfd, 2> ready{{{fd_, POLLIN, 0}, {program.output(), POLLIN, 0}}};
    constexpr long kLookAgain = 200;
    ::poll(ready.data(), ready.size(), static_cast<int>(left < kLookAgain ? left : kLookAgain));
  }
}

}  // namespace godwit::local_cluster
