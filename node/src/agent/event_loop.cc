#include "agent/event_loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace godwit::node {

namespace {
constexpr std::uint64_t kWake = 0;
constexpr std::uint64_t key_of(int fd, std::uint64_t number) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(fd)) | number << 32;
}
}  // namespace

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  const int epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return fail_errno("cannot make an epoll descriptor");
  const int wake_fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_fd < 0) {
    auto error = fail_errno("cannot make an eventfd");
    ::close(epoll_fd);
    return error;
  }
  std::unique_ptr<EventLoop> loop(new EventLoop(epoll_fd, wake_fd));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWake;
  if (::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) != 0) {
    return fail_errno("cannot watch an eventfd");
  }
  return loop;
}

EventLoop::~EventLoop() {
  ::close(wake_fd_);
  ::close(epoll_fd_);
}

void EventLoop::run() {
  std::array<epoll_event, 128> events;
  while (!stopping_) {
    awake_ = false;
    // Looked at after that: a task posted before it has woken nobody.
    const int timeout = has_tasks() ? 0 : next_timeout();
    const int count =
        ::epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), timeout);
    awake_ = true;
    for (int i = 0; i < count; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      if (event.data.u64 == kWake) {
        std::uint64_t value;
        [[maybe_unused]] const ssize_t got = ::read(wake_fd_, &value, sizeof value);
        continue;
      }
      const auto found = watched_.find(static_cast<int>(event.data.u64 & 0xffffffff));
      if (found == watched_.end() || found->second->number != event.data.u64 >> 32) continue;
      const auto watched = found->second;  // A handler may unwatch itself.
      watched->handler(event.events);
    }
    run_timers();
    run_tasks();
  }
  run_tasks();
}

void EventLoop::stop() {
  post([this] { stopping_ = true; });
}

void EventLoop::post(Task task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  if (awake_.exchange(true)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
}

bool EventLoop::has_tasks() {
  std::lock_guard lock(mutex_);
  return !tasks_.empty();
}

void EventLoop::run_tasks() {
  std::vector<Task> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  for (auto& task : tasks) task();
}

Result<void> EventLoop::watch(int fd, std::uint32_t events, FdHandler handler) {
  const std::uint64_t number = next_number_++ & 0xffffffff;
  epoll_event event{};
  event.events = events;
  event.data.u64 = key_of(fd, number);
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    return fail_errno("cannot watch a descriptor");
  }
  watched_[fd] = std::make_shared<Watched>(Watched{number, std::move(handler)});
  return {};
}

void EventLoop::change(int fd, std::uint32_t events) {
  const auto found = watched_.find(fd);
  if (found == watched_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = key_of(fd, found->second->number);
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::unwatch(int fd) {
  if (watched_.erase(fd) != 0) ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::after(std::chrono::milliseconds delay, Task task) {
  const TimerId timer = next_number_++;
  const auto at = Clock::now() + delay;
  timers_.emplace(std::pair(at, timer), std::move(task));
  timer_times_.emplace(timer, at);
  return timer;
}

void EventLoop::cancel(TimerId& timer) {
  const auto found = timer_times_.find(timer);
  if (found != timer_times_.end()) {
    timers_.erase({found->second, timer});
    timer_times_.erase(found);
  }
  timer = 0;
}

int EventLoop::next_timeout() const {
  if (timers_.empty()) return -1;
  const auto left = timers_.begin()->first.first - Clock::now();
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::clamp<std::int64_t>(ms, 0, 3'600'000));
}

void EventLoop::run_timers() {
  const auto now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto timer = timers_.extract(timers_.begin());
    timer_times_.erase(timer.key().second);
    timer.mapped()();
  }
}

}  // namespace godwit::node
