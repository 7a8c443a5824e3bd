#include "task_thread.h"

#include <pthread.h>

namespace godwit::coord {

TaskThread::TaskThread(const char* name) : thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), name);
}

void TaskThread::post(Task task) {
  {
    std::unique_lock lock(mutex_);
    if (!stopped_) {
      posted_.push_back(std::move(task));
      const bool wake = posted_.size() == 1 && !lent_;
      lock.unlock();  // the thread would wait for it at once
      if (wake) wake_.notify_one();
      return;
    }
  }
  task();
}

void TaskThread::post_at(Time time, Task task) {
  {
    std::lock_guard lock(mutex_);
    if (!stopped_) {
      posted_.push_back(
          [this, time, later = std::move(task)]() mutable { at(time, std::move(later)); });
      if (posted_.size() == 1 && !lent_) wake_.notify_one();
      return;
    }
  }
  task();
}

bool TaskThread::run_here(const Task& task) {
  std::unique_lock lock(mutex_);
  if (!idle_ || lent_ || stopping_) return false;
  lent_ = true;
  lock.unlock();
  stands_in_ = std::this_thread::get_id();
  task();
  stands_in_ = std::thread::id();
  lock.lock();
  lent_ = false;
  if (!idle_ || stopping_ || !posted_.empty()) wake_.notify_one();
  return true;
}

bool TaskThread::on_thread() const {
  const std::thread::id self = std::this_thread::get_id();
  return self == thread_.get_id() || self == stands_in_;
}

TaskThread::Timer TaskThread::at(Time time, Task task) {
  const Timer timer{time, next_timer_++};
  timers_.emplace(timer, std::move(task));
  return timer;
}

void TaskThread::stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

void TaskThread::run() {
  std::vector<Task> batch;
  std::unique_lock lock(mutex_);
  for (;;) {
    idle_ = true;
    if (posted_.empty() && !stopping_) {
      const auto ready = [this] { return !posted_.empty() || stopping_; };
      if (timers_.empty()) {
        wake_.wait(lock, ready);
      } else {
        wake_.wait_until(lock, timers_.begin()->first.first, ready);
      }
    }
    idle_ = false;
    wake_.wait(lock, [this] { return !lent_; });
    if (posted_.empty() && stopping_ && timers_.empty()) break;
    const bool ending = posted_.empty() && stopping_;
    batch.swap(posted_);
    lock.unlock();
    for (Task& task : batch) {
      task();
      task = nullptr;  // what it captured may be large, or wait for its own end
    }
    batch.clear();
    while (!timers_.empty() &&
           (ending || timers_.begin()->first.first <= std::chrono::steady_clock::now()))
      timers_.extract(timers_.begin()).mapped()();
    lock.lock();
  }
  stopped_ = true;
}

}  // namespace godwit::coord
