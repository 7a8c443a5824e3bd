// EventLoop: the agent's one thread: descriptors, timers, and tasks that others post.
//
// Owner: the Agent. post() and stop() from any thread; everything else on the loop's own thread.
// All state of the agent is touched on this thread alone.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "godwit/error.h"

namespace godwit::node {

using Clock = std::chrono::steady_clock;

class EventLoop {
 public:
  using Task = std::function<void()>;
  using FdHandler = std::function<void(std::uint32_t events)>;
  using TimerId = std::uint64_t;  // 0: none

  static Result<std::unique_ptr<EventLoop>> create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Runs until stop(). Tasks that were posted before it returns are run.
  void run();
  void stop();
  void post(Task task);

  /// Level-triggered. The descriptor stays its owner's, who unwatches it before closing it; events
  /// already fetched for an unwatched descriptor are dropped.
  Result<void> watch(int fd, std::uint32_t events, FdHandler handler);
  void change(int fd, std::uint32_t events);
  void unwatch(int fd);

  TimerId after(std::chrono::milliseconds delay, Task task);
  void cancel(TimerId& timer);  // and sets it to 0

 private:
  struct Watched {
    std::uint64_t number;  // tells a descriptor from a later one of the same value
    FdHandler handler;
  };

  EventLoop(int epoll_fd, int wake_fd) : epoll_fd_(epoll_fd), wake_fd_(wake_fd) {}
  int next_timeout() const;
  void run_timers();
  bool has_tasks();
  void run_tasks();

  const int epoll_fd_;
  const int wake_fd_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> awake_{false};  // looks at the tasks before it sleeps, or is being woken
  std::mutex mutex_;
  std::vector<Task> tasks_;
  std::uint64_t next_number_ = 1;
  std::unordered_map<int, std::shared_ptr<Watched>> watched_;
  std::map<std::pair<Clock::time_point, TimerId>, Task> timers_;
  std::unordered_map<TimerId, Clock::time_point> timer_times_;
};

}  // namespace godwit::node
