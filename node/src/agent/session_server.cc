#include "agent/session_server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace godwit::node {

namespace {

using namespace std::chrono_literals;

constexpr int kBacklog = 512;
constexpr std::size_t kReadSize = 64 * 1024;
constexpr std::size_t kMaxConnections = 8192;
constexpr std::size_t kMaxOpenRequests = 65'536;
constexpr std::size_t kOutputPause = 4u << 20;
constexpr std::size_t kOutputLimit = 256u << 20;
constexpr auto kNoDescriptorsPause = 100ms;

// Requests that stay open for as long as it takes do not count against the limit of open ones.
bool is_wait(const endpoints::proto::Request& request) {
  return request.has_wait_bound() || request.has_wait_unbound();
}

}  // namespace

Result<std::unique_ptr<SessionServer>> SessionServer::open(EventLoop& loop, const std::string& path,
                                                           unsigned mode, Handler& handler) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_errno("cannot make the agent's socket");
  std::unique_ptr<SessionServer> server(new SessionServer(loop, fd, path, handler));
  // The run directory's lock is ours: a socket there is a dead agent's.
  ::unlink(path.c_str());
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), mode) != 0 || ::listen(fd, kBacklog) != 0) {
    return fail_errno("cannot listen on " + path);
  }
  auto watched = loop.watch(fd, EPOLLIN, [raw = server.get()](std::uint32_t) { raw->accept(); });
  if (!watched) return tl::make_unexpected(std::move(watched.error()));
  return server;
}

SessionServer::~SessionServer() {
  loop_.cancel(resume_);
  loop_.unwatch(fd_);
  ::close(fd_);
  ::unlink(path_.c_str());
  for (auto& [number, connection] : connections_) {
    loop_.cancel(connection->hello_timer);
    loop_.unwatch(connection->fd);
    ::close(connection->fd);
  }
}

Session* SessionServer::find(SessionNumber number) {
  const auto found = connections_.find(number);
  return found == connections_.end() ? nullptr : &found->second->session;
}

void SessionServer::accept() {
  while (true) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        // Out of descriptors: what waits in the backlog would wake the loop without end.
        spdlog::warn("cannot accept a process: {}", std::strerror(errno));
        loop_.change(fd_, 0);
        resume_ = loop_.after(kNoDescriptorsPause, [this] {
          resume_ = 0;
          loop_.change(fd_, EPOLLIN);
        });
      }
      return;
    }
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (connections_.size() >= kMaxConnections ||
        ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
      ::close(fd);
      continue;
    }
    auto connection = std::make_unique<Connection>();
    const SessionNumber number = next_++;
    connection->session.number = number;
    connection->session.pid = static_cast<std::uint32_t>(credentials.pid);
    connection->session.uid = credentials.uid;
    connection->fd = fd;
    connection->hello_timer = loop_.after(agent_protocol::kHelloTimeout, [this, number] {
      const auto found = connections_.find(number);
      if (found == connections_.end()) return;
      found->second->hello_timer = 0;
      if (!found->second->session.hello_done) close(number);
    });
    connections_.emplace(number, std::move(connection));
    auto watched = loop_.watch(fd, EPOLLIN,
                               [this, number](std::uint32_t events) { on_event(number, events); });
    if (!watched) close(number);
  }
}

void SessionServer::on_event(SessionNumber number, std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) write(number);
  if ((events & ~EPOLLOUT) != 0) read(number);
}

void SessionServer::read(SessionNumber number) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) return;
  Connection& connection = *found->second;
  const ssize_t got =
      ::recv(connection.fd, connection.reader.prepare(kReadSize), kReadSize, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  if (got <= 0) return close(number);
  connection.reader.commit(static_cast<std::size_t>(got));
  if (auto handled = handle(number); !handled) {
    spdlog::warn("ending the connection of process {}: {}", connection.session.pid,
                 handled.error().message);
    close(number);
  }
}

// Handles whole messages while the session lives and may be read from.
Result<void> SessionServer::handle(SessionNumber number) {
  while (true) {
    const auto found = connections_.find(number);
    if (found == connections_.end()) return {};
    Connection& connection = *found->second;
    if (connection.open_requests >= kMaxOpenRequests) break;
    auto next = connection.reader.next();
    if (!next) return tl::make_unexpected(std::move(next.error()));
    if (!next->whole) break;
    endpoints::proto::Request request;
    if (!request.ParseFromArray(next->message.data(), static_cast<int>(next->message.size()))) {
      return fail(Errc::protocol_error, "it sent what is no message");
    }
    if (request.number() == 0)
      return fail(Errc::protocol_error, "it sent a request without number");
    ++requests_;
    if (!is_wait(request)) ++connection.open_requests;
    handler_.on_request(connection.session, request);
  }
  if (const auto found = connections_.find(number); found != connections_.end()) {
    update(*found->second);
  }
  return {};
}

bool SessionServer::send(SessionNumber number, const endpoints::proto::Response& response) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) return false;
  Connection& connection = *found->second;
  agent_protocol::append(response, connection.out);
  if (response.number() != 0 && connection.open_requests > 0) --connection.open_requests;
  if (!connection.dirty) {
    connection.dirty = true;
    // Written once for all answers of this round of the loop.
    if (dirty_.empty()) loop_.post([this] { flush_all(); });
    dirty_.push_back(number);
  }
  return true;
}

void SessionServer::flush_all() {
  for (const SessionNumber number : std::exchange(dirty_, {})) {
    const auto found = connections_.find(number);
    if (found == connections_.end()) continue;
    found->second->dirty = false;
    write(number);
  }
}

void SessionServer::hurry(SessionNumber number) {
  const auto found = connections_.find(number);
  if (found != connections_.end()) write_out(*found->second);
}

/// As far as it goes at once; false if the connection is broken.
bool SessionServer::write_out(Connection& connection) {
  while (connection.sent < connection.out.size()) {
    const ssize_t written =
        ::send(connection.fd, connection.out.data() + connection.sent,
               connection.out.size() - connection.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    connection.sent += static_cast<std::size_t>(written);
  }
  return true;
}

void SessionServer::write(SessionNumber number) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) return;
  Connection& connection = *found->second;
  const bool was_paused =
      connection.open_requests + 1 >= kMaxOpenRequests || (connection.watching & EPOLLIN) == 0;
  if (!write_out(connection)) return close(number);
  if (connection.sent == connection.out.size()) {
    connection.out = std::string();
    connection.sent = 0;
  } else if (connection.out.size() - connection.sent > kOutputLimit) {
    spdlog::warn("ending the connection of process {}: it does not read its answers",
                 connection.session.pid);
    return close(number);
  }
  // Whole messages may lie in the reader from before the pause, and no event tells of them.
  if (was_paused) {
    if (auto handled = handle(number); !handled) close(number);
  } else {
    update(connection);
  }
}

void SessionServer::update(Connection& connection) {
  const std::size_t unsent = connection.out.size() - connection.sent;
  std::uint32_t events = 0;
  if (connection.open_requests < kMaxOpenRequests && unsent < kOutputPause) events |= EPOLLIN;
  if (unsent > 0) events |= EPOLLOUT;
  if (events == connection.watching) return;
  connection.watching = events;
  loop_.change(connection.fd, events);
}

void SessionServer::close(SessionNumber number) {
  auto connection = connections_.extract(number);
  if (connection.empty()) return;
  Connection& closed = *connection.mapped();
  loop_.cancel(closed.hello_timer);
  loop_.unwatch(closed.fd);
  ::close(closed.fd);
  // Whoever is being called for this session, further down the stack, may still look at it.
  if (ended_.empty()) loop_.post([this] { ended_.clear(); });
  ended_.push_back(std::move(connection.mapped()));
  handler_.on_session_closed(closed.session);
}

}  // namespace godwit::node
