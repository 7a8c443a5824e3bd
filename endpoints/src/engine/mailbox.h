// Mailbox: how other threads give an engine something to do.
//
// Shared by the engine and by whoever may answer it later (the resolver's callbacks): it outlives
// the engine, which closes it at its end, so that no other thread ever holds or destroys an engine.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "godwit/fabric/fabric.h"

namespace godwit {

class Mailbox {
 public:
  using Task = std::function<void()>;

  /// Runs `task` on the engine's thread, soon; drops it if the engine has ended. Any thread.
  void post(Task task) {
    const std::lock_guard lock(mutex_);
    if (fabric_ == nullptr) return;
    tasks_.push_back(std::move(task));
    has_mail_.store(true, std::memory_order_release);
    fabric_->wake();
  }

  /// Engine's thread, as all below.
  void open(fabric::Fabric& fabric) {
    const std::lock_guard lock(mutex_);
    fabric_ = &fabric;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    fabric_ = nullptr;
    tasks_.clear();
  }
  bool has_mail() const noexcept { return has_mail_.load(std::memory_order_relaxed); }
  std::vector<Task> take() {
    const std::lock_guard lock(mutex_);
    has_mail_.store(false, std::memory_order_relaxed);
    return std::exchange(tasks_, {});
  }

 private:
  std::atomic<bool> has_mail_{false};
  std::mutex mutex_;
  std::vector<Task> tasks_;
  fabric::Fabric* fabric_ = nullptr;
};

}  // namespace godwit
