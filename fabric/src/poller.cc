#include "godwit/fabric/poller.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace godwit::fabric {

Result<std::unique_ptr<Poller>> Poller::create() {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return fail_errno("cannot create an epoll set");
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    auto error = fail_errno("cannot create an eventfd");
    ::close(epoll_fd);
    return error;
  }
  std::unique_ptr<Poller> poller(new Poller(epoll_fd, wake_fd));
  // Edge-triggered: each wake-up is reported once and never has to be read, which spares the
  // sleeper a system call. The counter cannot fill up: 2^64 - 2 wake-ups.
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = nullptr;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) != 0) {
    return fail_errno("cannot watch the wake-up descriptor");
  }
  return poller;
}

Poller::~Poller() {
  ::close(wake_fd_);
  ::close(epoll_fd_);
}

Result<void> Poller::add(int fd, std::uint32_t events, PollHandler& handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0)
    return fail_errno("cannot watch a descriptor");
  return {};
}

Result<void> Poller::modify(int fd, std::uint32_t events, PollHandler& handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0)
    return fail_errno("cannot watch a descriptor");
  return {};
}

void Poller::remove(int fd, PollHandler& handler) noexcept {
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  for (int i = 0; i < batch_size_; ++i) {
    if (batch_[i].data.ptr == &handler) batch_[i].events = 0;
  }
}

unsigned Poller::dispatch(std::chrono::nanoseconds timeout) {
  timespec limit{};
  timespec* wait = nullptr;
  if (timeout < std::chrono::hours(24)) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
    limit.tv_sec = seconds.count();
    limit.tv_nsec = (timeout - seconds).count();
    wait = &limit;
  }
  const int ready = epoll_pwait2(epoll_fd_, batch_, kBatch, wait, nullptr);
  if (ready <= 0) return 0;  // time-out or EINTR: the caller looks at its clock and comes again
  batch_size_ = ready;
  for (int i = 0; i < batch_size_; ++i) {
    auto* handler = static_cast<PollHandler*>(batch_[i].data.ptr);
    if (handler != nullptr && batch_[i].events != 0) handler->on_ready(batch_[i].events);
  }
  batch_size_ = 0;
  return static_cast<unsigned>(ready);
}

void Poller::wake() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
}

}  // namespace godwit::fabric
