// The working of LocalCoordinator, on two threads:
//   callbacks  owns the database: takes queued operations, several writes to a
//              transaction; expires sessions, opens a new one when its own is gone; runs
//              what users gave. One thread, as each way to another one takes longer than
//              most transactions. Another thread may stand in for it (write_here)
//   heartbeat  stamps that the session lives, looks for sessions that do not, sleeps
//              on the change counter; never touches the database, so a slow disk or a
//              slow callback does not cost the session
//
// Owner: LocalCoordinator. Members say whose they are.
#pragma once

#include <godwit/coord/local_coordinator.h>

#include "local_store.h"
#include "local_watches.h"
#include "task_thread.h"

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <variant>
#include <vector>

namespace godwit::coord {

class LocalCoordinator::Impl {
 public:
  Impl(LocalOptions options, std::unique_ptr<LocalStore> store, LocalStore::Session session);
  ~Impl() { close(); }

  struct Write {
    std::vector<WriteOp> ops;
    Deadline deadline;
    Callback<std::vector<Stat>> done;
  };
  struct Get {
    std::string path;
    Deadline deadline;
    Callback<Record> done;
    Watcher watcher;
  };
  struct List {
    std::string path;
    Deadline deadline;
    Callback<Children> done;
    Watcher watcher;
  };
  using Request = std::variant<Write, Get, List>;

  void submit(Request request);
  // In the calling thread, answered and all; or false, and nothing is done.
  bool write_here(const Write& write);
  void post(std::function<void()> task) { thread_.post(std::move(task)); }
  void run_at(Deadline time, std::function<void()> task) { thread_.post_at(time, std::move(task)); }
  void close();

  SessionId session_id() const { return session_id_; }
  bool connected() const { return session_id_ != 0; }
  bool on_callback_thread() const { return thread_.on_thread(); }

 private:
  // What the heartbeat thread asks of the callback thread. Asked again while it waits, it
  // is still one errand.
  struct Errands {
    bool check_session = false;
    bool look_for_changes = false;
    bool reattach = false;
    std::set<std::pair<SessionId, std::uint32_t>> expire;
    bool any() const { return check_session || look_for_changes || reattach || !expire.empty(); }
  };

  // --- Any thread.
  bool is_closing() {
    std::lock_guard lock(mutex_);
    return closing_;
  }
  bool may_overtake();
  void want_service(std::unique_lock<std::mutex> lock);
  void refuse(Request& request, Errc code, const char* why);

  // --- Callback thread.
  void serve();
  void run_errands(const Errands& errands);
  void serve_writes(std::vector<Write> batch);
  bool write_all(const std::vector<Write>& batch);
  std::vector<Write> wait_for_lock(std::vector<Write> batch);
  Result<void> begin_in_session();
  template <typename Read, typename Do>
  void serve_read(Read read, LocalWatches::Kind kind, Do get);
  bool is_after_commit_due() const;
  void after_commit();
  void look_for_changes();
  void check_session();
  Result<void> renew_session();
  void adopt(const LocalStore::Session& session);
  void publish_liveness();
  void emit(SessionEvent event);
  void fire(std::vector<Watcher> watchers);

  // --- Heartbeat thread.
  void run_heartbeat();
  void look_after_others(LivenessFile& liveness, const LocalStore::Session& own);
  template <typename Ask>
  void ask(Ask ask);

  const LocalOptions options_;
  const std::unique_ptr<LocalStore> store_;  // callback thread
  LocalWatches watches_;                     // callback thread
  std::int64_t looked_at_ = 0;               // callback thread: changes up to this are fired
  LocalStore::Session session_;              // callback thread; id 0: none now

  std::atomic<SessionId> session_id_{0};
  std::atomic<bool> has_watches_{false};
  std::atomic<bool> look_again_{false};

  std::mutex mutex_;  // over what follows
  std::deque<Request> queue_;
  Errands errands_;
  bool served_soon_ = false;  // serve() is posted
  bool closing_ = false;
  struct Shared {
    std::shared_ptr<LivenessFile> liveness;
    LocalStore::Session session;
  } shared_;  // what the heartbeat thread works with

  std::atomic<bool> stop_heartbeat_{false};
  std::once_flag closed_;
  TaskThread thread_{"godwit-local"};  // of the callbacks
  std::thread heartbeat_thread_;
};

}  // namespace godwit::coord
