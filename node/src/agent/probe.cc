#include "agent/probe.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "agent/tcp_socket.h"
#include "godwit/agent_protocol.h"

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
// On one network an answer takes milliseconds; what takes longer counts as no answer for now.
constexpr auto kTimeLimit = 300ms;
constexpr std::size_t kReadSize = 4096;
}  // namespace

// One connection; its owner destroys it as soon as it has a result.
class Prober::Attempt {
 public:
  Attempt(EventLoop& loop, std::unique_ptr<proto::AgentHello> expected)
      : loop_(loop), expected_(std::move(expected)) {}
  ~Attempt() {
    loop_.cancel(timer_);
    if (fd_ < 0) return;
    loop_.unwatch(fd_);
    ::close(fd_);
  }

  std::vector<Done> waiting;

  // Never answers from inside this call, so that the caller's bookkeeping comes first.
  void start(const fabric::SocketAddress& address, const proto::AgentHello& self, Done done) {
    done_ = std::move(done);
    if (expected_) agent_protocol::append(self, output_);
    timer_ = loop_.after(kTimeLimit, [this] { finish(ProbeResult::silent); });
    int progress = 0;
    auto fd = connect_tcp(address, progress);
    if (!fd) return answer_soon(ProbeResult::silent);
    fd_ = *fd;
    if (progress == ECONNREFUSED) return answer_soon(ProbeResult::refused);
    if (progress != 0 && progress != EINPROGRESS) return answer_soon(ProbeResult::silent);
    if (!loop_.watch(fd_, EPOLLOUT, [this](std::uint32_t) { on_event(); })) {
      answer_soon(ProbeResult::silent);
    }
  }

 private:
  void answer_soon(ProbeResult result) {
    loop_.cancel(timer_);
    timer_ = loop_.after(0ms, [this, result] { finish(result); });
  }

  void finish(ProbeResult result) {
    const Done done = std::move(done_);  // It destroys this.
    done(result);
  }

  void on_event() {
    if (!connected_) {
      int error = 0;
      socklen_t size = sizeof error;
      ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error == ECONNREFUSED || error == ECONNRESET) return finish(ProbeResult::refused);
      if (error != 0) return finish(ProbeResult::silent);
      connected_ = true;
      if (!expected_) return finish(ProbeResult::answered);
      // A hello fits the buffer of a fresh socket.
      const ssize_t sent = ::send(fd_, output_.data(), output_.size(), MSG_NOSIGNAL);
      if (sent != static_cast<ssize_t>(output_.size())) return finish(ProbeResult::refused);
      loop_.change(fd_, EPOLLIN);
      return;
    }
    const ssize_t got = ::recv(fd_, reader_.prepare(kReadSize), kReadSize, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return finish(ProbeResult::refused);
    reader_.commit(static_cast<std::size_t>(got));
    const auto next = reader_.next();
    if (!next) return finish(ProbeResult::refused);
    if (!next->whole) return;
    proto::AgentHello hello;
    const bool same =
        hello.ParseFromArray(next->message.data(), static_cast<int>(next->message.size())) &&
        hello.node() == expected_->node() && hello.incarnation() == expected_->incarnation();
    finish(same ? ProbeResult::answered : ProbeResult::refused);
  }

  EventLoop& loop_;
  std::unique_ptr<proto::AgentHello> expected_;
  Done done_;
  std::string output_;
  agent_protocol::MessageReader reader_;
  EventLoop::TimerId timer_ = 0;
  int fd_ = -1;
  bool connected_ = false;
};

Prober::Prober(EventLoop& loop, proto::AgentHello self) : loop_(loop), self_(std::move(self)) {}

Prober::~Prober() = default;

void Prober::agent(const fabric::SocketAddress& address, const std::string& node,
                   std::uint64_t incarnation, Done done) {
  auto expected = std::make_unique<proto::AgentHello>();
  expected->set_node(node);
  expected->set_incarnation(incarnation);
  start("agent " + std::to_string(incarnation) + " " + to_text(address), address,
        std::move(expected), std::move(done));
}

void Prober::listener(const fabric::SocketAddress& address, Done done) {
  start("listener " + to_text(address), address, nullptr, std::move(done));
}

void Prober::start(const std::string& key, const fabric::SocketAddress& address,
                   std::unique_ptr<proto::AgentHello> expected, Done done) {
  auto& attempt = attempts_[key];
  const bool fresh = attempt == nullptr;
  if (fresh) attempt = std::make_unique<Attempt>(loop_, std::move(expected));
  attempt->waiting.push_back(std::move(done));
  if (fresh) {
    attempt->start(address, self_, [this, key](ProbeResult result) { finish(key, result); });
  }
}

void Prober::finish(const std::string& key, ProbeResult result) {
  const auto attempt = attempts_.extract(key);
  for (const Done& done : attempt.mapped()->waiting) done(result);
}

}  // namespace godwit::node
