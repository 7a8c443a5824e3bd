#include "agent_link/agent_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace godwit::agent_link {

namespace {
constexpr std::size_t kReadSize = 64 * 1024;
// So that one busy stretch of pushes does not keep the thread from writing.
constexpr int kReadsAtOnce = 64;
}  // namespace

Result<AgentSocket> AgentSocket::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail(Errc::invalid_argument, "the path " + path + " is too long for a Unix socket (" +
                                            std::to_string(sizeof address.sun_path - 1) +
                                            " bytes at most): use a shorter runtime directory");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_errno("cannot make a socket for the agent");
  AgentSocket socket(fd);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return socket;
  const int error = errno;
  const Errc code =
      error == EACCES || error == EPERM ? Errc::permission_denied : Errc::agent_unavailable;
  return fail(code, "cannot connect to " + path + ": " + std::strerror(error));
}

AgentSocket::AgentSocket(AgentSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      out_(std::move(other.out_)),
      sent_(std::exchange(other.sent_, 0)),
      reader_(std::move(other.reader_)) {}

AgentSocket& AgentSocket::operator=(AgentSocket&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(out_, other.out_);
  std::swap(sent_, other.sent_);
  std::swap(reader_, other.reader_);
  return *this;
}

AgentSocket::~AgentSocket() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> AgentSocket::flush() {
  while (has_output()) {
    const ssize_t written =
        ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
      return fail(Errc::agent_unavailable,
                  std::string("the connection to the agent broke: ") + std::strerror(errno));
    }
    sent_ += static_cast<std::size_t>(written);
  }
  // Released, not cleared: a burst of binds must not be paid for ever after.
  out_ = std::string();
  sent_ = 0;
  return {};
}

Result<void> AgentSocket::read(const std::function<Result<void>(std::string_view)>& on_message) {
  for (int reads = 0; reads < kReadsAtOnce; ++reads) {
    const ssize_t got = ::recv(fd_, reader_.prepare(kReadSize), kReadSize, MSG_DONTWAIT);
    if (got == 0) return fail(Errc::agent_unavailable, "the agent closed the connection");
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
      return fail(Errc::agent_unavailable,
                  std::string("the connection to the agent broke: ") + std::strerror(errno));
    }
    reader_.commit(static_cast<std::size_t>(got));
    while (true) {
      auto next = reader_.next();
      if (!next) return tl::make_unexpected(std::move(next.error()));
      if (!next->whole) break;
      if (auto handled = on_message(next->message); !handled) return handled;
    }
  }
  return {};
}

}  // namespace godwit::agent_link
