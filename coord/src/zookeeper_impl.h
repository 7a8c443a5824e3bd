// The working of ZooKeeperCoordinator: pending operations, the session, watches.
//
// Owner: ZooKeeperCoordinator. All state belongs to the callback thread (thread_) but
// the atomics; the C client's threads only post to it. Old handles are closed on a
// thread of their own, since that may take seconds.
#pragma once

#include <godwit/coord/zookeeper_coordinator.h>

#include "settled_write.h"
#include "task_thread.h"
#include "zookeeper_handle.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>

namespace godwit::coord {

class ZooKeeperCoordinator::Impl {
 public:
  Impl(ZooKeeperOptions options, std::string servers, std::string prefix);
  ~Impl() { close(); }

  void write(std::vector<WriteOp> ops, Deadline deadline, Callback<std::vector<Stat>> done);
  void get(std::string path, Deadline deadline, Callback<Record> done, Watcher watcher);
  void list(std::string path, Deadline deadline, Callback<Children> done, Watcher watcher);
  void post(std::function<void()> task) { thread_.post(std::move(task)); }
  void run_at(Deadline time, std::function<void()> task) { thread_.post_at(time, std::move(task)); }
  void close();

  SessionId session_id() const { return session_id_; }
  bool connected() const { return connected_; }
  bool on_callback_thread() const { return thread_.on_thread(); }

 private:
  struct Write {
    SettledWrite settled;
    SettledWrite::Step step;
    std::uint64_t session = 0;  // count of the session it was last issued in
    Callback<std::vector<Stat>> done;
  };
  // A read that finds no node and has a watcher must arm it by an exists request, since
  // a failed get arms none.
  struct Get {
    std::string path;
    bool arming = false;
    std::uint64_t watch = 0;
    Callback<Record> done;
  };
  struct List {
    std::string path;
    bool arming = false;
    std::uint64_t watch = 0;
    Callback<Children> done;
  };
  struct Operation {
    TaskThread::Timer timer;
    bool in_flight = false;
    std::variant<Write, Get, List> kind;
  };
  using OperationId = std::uint64_t;

  // Operations: queued → in flight → (queued again, when lost) → finished.
  void submit(std::variant<Write, Get, List> kind, Deadline deadline);
  void start(std::variant<Write, Get, List> kind, Deadline deadline);
  void pump();
  bool send(OperationId id, Operation& operation);
  bool send_write(OperationId id, Write& write);
  bool send_get(OperationId id, Get& get);
  bool send_list(OperationId id, List& list);
  // The operation that an answer is for; null when its deadline passed before.
  Operation* landed(OperationId id, std::uint64_t session);
  void advance(OperationId id, Write& write, SettledWrite::Step step);
  void on_write_answer(OperationId id, std::uint64_t session, int rc, int failed_op,
                       std::vector<std::int32_t> versions);
  void on_witness(OperationId id, std::uint64_t session, int rc, Record record);
  void on_get_answer(OperationId id, std::uint64_t session, int rc, Record record);
  void on_list_answer(OperationId id, std::uint64_t session, int rc, Children children);
  template <typename Read>
  void on_armed(OperationId id, std::uint64_t session, int rc);
  template <typename Read>
  void finish_read_without(OperationId id, int rc);
  Operation take(OperationId id);
  void give_up(OperationId id, Errc unsent, const char* why);
  void give_up_all(Errc unsent, const char* why);

  // The session.
  void open_session();
  void close_session();
  void on_state(std::uint64_t session, ZooKeeperHandle::State state, SessionId id);
  void make_prefix();
  void on_usable();
  void on_expired();
  void emit(SessionEvent event);

  std::uint64_t add_watch(Watcher watcher);
  void on_watch(std::uint64_t watch);

  const ZooKeeperOptions options_;
  const std::string servers_;
  const std::string prefix_;
  std::atomic<SessionId> session_id_{0};
  std::atomic<bool> connected_{false};
  std::atomic<bool> closing_{false};
  std::atomic<bool> closed_{false};

  std::unordered_map<OperationId, Operation> operations_;
  std::set<OperationId> ready_;  // in order of submission, also those issued again
  OperationId next_operation_ = 1;
  std::size_t in_flight_ = 0;
  std::unordered_map<std::uint64_t, Watcher> watches_;
  std::uint64_t next_watch_ = 1;

  std::unique_ptr<ZooKeeperHandle> handle_;
  std::uint64_t session_count_ = 0;  // names the current handle; stale answers carry an older one
  bool prefix_made_ = false;
  bool auth_failed_ = false;

  // Last: they run tasks that use the rest. thread_ outlives closer_, which posts to it.
  TaskThread thread_{"godwit-zk"};
  TaskThread closer_{"godwit-zk-close"};
};

}  // namespace godwit::coord
