// TaskThread: one thread that runs tasks in the order they were posted, and others
// at their time. The callback thread of a coordinator.
//
// Owner: a coordinator. post, post_at, on_thread: any thread. run_here: any other thread. at,
// cancel: on the thread only (so a timer cancelled is never run). stop: any other thread, once.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace godwit::coord {

class TaskThread {
 public:
  using Task = std::function<void()>;
  using Time = std::chrono::steady_clock::time_point;
  using Timer = std::pair<Time, std::uint64_t>;

  // `name`: at most 15 characters, as the system shows it.
  explicit TaskThread(const char* name);
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;
  ~TaskThread() { stop(); }

  // After stop() it runs the task in the caller's thread, so no task is ever lost.
  void post(Task task);
  void post_at(Time time, Task task);
  // Runs `task` in the calling thread, which stands in for this one until it returns: what is
  // posted waits, and on_thread() holds for the caller. False, and not run, while the thread runs
  // something. `task` may post, but not call at() or cancel().
  bool run_here(const Task& task);
  bool on_thread() const;

  Timer at(Time time, Task task);
  void cancel(const Timer& timer) { timers_.erase(timer); }

  // Runs what was posted, also by the tasks that still run, and what was to run later,
  // at once; then ends the thread.
  void stop();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Task> posted_;
  bool idle_ = false;
  bool lent_ = false;  // to a caller of run_here
  bool stopping_ = false;
  bool stopped_ = false;

  std::atomic<std::thread::id> stands_in_;
  std::map<Timer, Task> timers_;  // the thread's own
  std::uint64_t next_timer_ = 0;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace godwit::coord
