#include "agent/peer_listener.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/tcp_socket.h"
#include "godwit/agent_protocol.h"

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
constexpr auto kTimeLimit = 2s;
constexpr auto kNoDescriptorsPause = 100ms;
constexpr std::size_t kMaxPeers = 256;
constexpr std::size_t kMaxHello = 1024;
}  // namespace

class PeerListener::Peer {
 public:
  Peer(PeerListener& owner, int fd) : owner_(owner), fd_(fd) {
    timer_ = owner_.loop_.after(kTimeLimit, [this] { end(); });
  }
  ~Peer() {
    owner_.loop_.cancel(timer_);
    owner_.loop_.unwatch(fd_);
    ::close(fd_);
  }

  void on_readable() {
    const ssize_t got = ::recv(fd_, reader_.prepare(kMaxHello), kMaxHello, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return end();
    received_ += static_cast<std::size_t>(got);
    reader_.commit(static_cast<std::size_t>(got));
    const auto next = reader_.next();
    if (!next || answered_) return end();
    if (!next->whole) {
      if (received_ > kMaxHello) end();
      return;
    }
    proto::AgentHello hello;
    if (!hello.ParseFromArray(next->message.data(), static_cast<int>(next->message.size()))) {
      return end();
    }
    answered_ = true;
    std::string out;
    agent_protocol::append(owner_.self_, out);
    // It fits a fresh socket's buffer. The dialer closes; the time limit does if it does not.
    if (::send(fd_, out.data(), out.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(out.size()))
      end();
  }

 private:
  void end() { owner_.peers_.erase(fd_); }

  PeerListener& owner_;
  const int fd_;
  EventLoop::TimerId timer_ = 0;
  agent_protocol::MessageReader reader_;
  std::size_t received_ = 0;
  bool answered_ = false;
};

Result<std::unique_ptr<PeerListener>> PeerListener::open(EventLoop& loop,
                                                         fabric::SocketAddress address,
                                                         proto::AgentHello self) {
  auto fd = listen_tcp(address);
  if (!fd) return tl::make_unexpected(std::move(fd.error()));
  std::unique_ptr<PeerListener> listener(
      new PeerListener(loop, *fd, std::move(address), std::move(self)));
  auto watched = loop.watch(*fd, EPOLLIN, [raw = listener.get()](std::uint32_t) { raw->accept(); });
  if (!watched) return tl::make_unexpected(std::move(watched.error()));
  return listener;
}

PeerListener::PeerListener(EventLoop& loop, int fd, fabric::SocketAddress address,
                           proto::AgentHello self)
    : loop_(loop), fd_(fd), address_(std::move(address)), self_(std::move(self)) {}

PeerListener::~PeerListener() {
  peers_.clear();
  loop_.cancel(resume_);
  loop_.unwatch(fd_);
  ::close(fd_);
}

void PeerListener::accept() {
  while (true) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        // The waiting connection would wake the loop without end.
        loop_.change(fd_, 0);
        resume_ = loop_.after(kNoDescriptorsPause, [this] {
          resume_ = 0;
          loop_.change(fd_, EPOLLIN);
        });
      }
      if (errno == ECONNABORTED || errno == EINTR) continue;
      return;
    }
    // The oldest goes, so that idle strangers do not keep agents out.
    if (peers_.size() >= kMaxPeers) peers_.erase(peers_.begin());
    auto& peer = peers_[fd];
    peer = std::make_unique<Peer>(*this, fd);
    auto watched =
        loop_.watch(fd, EPOLLIN, [raw = peer.get()](std::uint32_t) { raw->on_readable(); });
    if (!watched) peers_.erase(fd);
  }
}

}  // namespace godwit::node
