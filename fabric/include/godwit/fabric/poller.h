// Poller: the one epoll set of an engine, and the wake-up that other threads and processes use.
//
// Owned by the engine's thread; wake() may be called from any thread, and the wake descriptor may
// be given to other processes.
#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <cstdint>
#include <memory>

#include "godwit/error.h"

namespace godwit::fabric {

/// Told when a descriptor is ready. Must be removed from the poller before it is destroyed.
class PollHandler {
 public:
  virtual void on_ready(std::uint32_t events) = 0;

 protected:
  ~PollHandler() = default;
};

class Poller {
 public:
  static Result<std::unique_ptr<Poller>> create();
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  /// `events` as for epoll_ctl (EPOLLIN, EPOLLOUT, EPOLLET ...). The handler stays the caller's.
  Result<void> add(int fd, std::uint32_t events, PollHandler& handler);
  Result<void> modify(int fd, std::uint32_t events, PollHandler& handler);
  /// Events of this batch that are still to be dispatched to `handler` are dropped.
  void remove(int fd, PollHandler& handler) noexcept;

  /// Waits until a descriptor is ready, wake() was called, or `timeout` passed (zero: just looks),
  /// and calls the handlers. Returns the number of descriptors that were ready, wake-ups included.
  unsigned dispatch(std::chrono::nanoseconds timeout);

  /// Ends the current or the next dispatch(). Async-signal-safe; any thread.
  void wake() noexcept;

  /// An eventfd; writing 8 bytes to it wakes this poller.
  int wake_fd() const noexcept { return wake_fd_; }
  int epoll_fd() const noexcept { return epoll_fd_; }

 private:
  Poller(int epoll_fd, int wake_fd) : epoll_fd_(epoll_fd), wake_fd_(wake_fd) {}

  static constexpr int kBatch = 64;

  int epoll_fd_;
  int wake_fd_;
  epoll_event batch_[kBatch];
  int batch_size_ = 0;
};

}  // namespace godwit::fabric
