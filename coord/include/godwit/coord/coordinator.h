// Coordinator: what an agent needs from a coordination service, and no more. A
// tree of small versioned records, written one by one or several atomically;
// ephemeral records that go when their owner's session ends; watches that say only
// "look again"; session events. ZooKeeperCoordinator and LocalCoordinator implement
// it and pass the same suite (tests/coord/coordinator_conformance_test.cc).
//
// Owner: the agent's composition root. It must outlive whatever uses it.
//
// Threads: every method may be called from any thread, also from a callback,
// except close(), the destructor and the helpers of blocking.h, which must not be
// called from a callback (asserted). All callbacks, watchers and session events run
// on one thread, the coordinator's callback thread, one at a time; so they need no
// locks among themselves, and must not block. (For a write with WriteOn::calling_thread
// the caller may stand in for that thread, until it returns.)
//
// Completion: each operation calls its callback exactly once, also when the
// coordinator is closed (Errc::closed). An argument error is reported the same way.
// Only calls made after close() returned are answered in the caller's own thread.
//
// Order: operations are started in the order of their submission, and a read sees
// the writes submitted before it by this coordinator and completed. An operation
// that must follow another is submitted from its callback: after a lost connection
// a write that has to be settled can be overtaken.
//
// Outcomes: a write answers ok, an error that means "not executed", or `deadline` /
// `outcome_unknown`, the only two after which it may or may not have happened. A
// connection lost under a write is not an outcome: the coordinator finds out, by a
// nonce in the record, and re-issues the write under the same expected version.
// See docs/directory.md.
//
// Deadlines: absolute, on the steady clock, one on every operation. They bound the
// wait for the service, not the time a callback queues behind a slow callback.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <godwit/coord/error.h>

namespace godwit::coord {

// Limits, the same for every implementation. Beyond: bad_argument (kMaxOutstanding:
// overloaded).
inline constexpr std::size_t kMaxRecordBytes = 64 * 1024;
inline constexpr std::size_t kMaxPathBytes = 1024;
inline constexpr std::size_t kMaxMultiOps = 1024;
inline constexpr std::size_t kMaxMultiBytes = 512 * 1024;  // paths and data together
inline constexpr std::size_t kMaxOutstanding = 1 << 18;

using Deadline = std::chrono::steady_clock::time_point;
inline Deadline after(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

// Session ids are unique among all sessions of a service; 0 is none.
using SessionId = std::uint64_t;

// The nonces of the writes that made a record, newest first. It is what settles a
// write whose answer was lost; opaque to users, who only carry it from a Stat into
// an Expected.
struct WriteTrail {
  static constexpr std::size_t kCapacity = 8;
  std::array<std::uint64_t, kCapacity> nonces{};
  std::uint8_t count = 0;
};

struct Stat {
  // 0 at creation, +1 at each set. Starts again when a path is removed and created.
  std::int32_t version = 0;
  // Differs between two creations of one path. Only from reads; 0 after a write.
  std::uint64_t created = 0;
  // The session that owns an ephemeral record; 0 for a persistent one.
  SessionId ephemeral_owner = 0;
  // Only from get.
  std::int32_t children = 0;
  WriteTrail trail;
};

struct Record {
  std::string data;
  Stat stat;
};

struct Children {
  std::vector<std::string> names;  // path components, unordered
  Stat stat;
};

// What a write expects of the record it changes. Made from a Stat it carries the
// record's trail on, so that a write whose answer is lost can be settled even after
// others wrote over it (fewer than WriteTrail::kCapacity times); prefer that.
class Expected {
 public:
  static Expected any() { return Expected(-1); }
  static Expected version(std::int32_t number) { return Expected(number); }
  Expected(const Stat& stat) : number_(stat.version), trail_(stat.trail) {}

  std::int32_t number() const { return number_; }  // -1: any
  const WriteTrail& trail() const { return trail_; }

 private:
  explicit Expected(std::int32_t number) : number_(number) {}
  std::int32_t number_;
  WriteTrail trail_;
};

enum class CreateMode { persistent, ephemeral };

// Who does a write. `calling_thread` is a wish, granted by a service on this machine while
// nothing runs on the callback thread and no operation waits: the write and its callback are
// done before the call returns. It spares two ways between threads and costs the caller the
// time of the write.
enum class WriteOn { callback_thread, calling_thread };

// Operations of a multi. The parents must exist (or be created earlier in the same
// multi).
struct CreateOp {
  std::string path;
  std::string data;
  CreateMode mode = CreateMode::persistent;
};
struct SetOp {
  std::string path;
  std::string data;
  Expected expected = Expected::any();
};
struct RemoveOp {
  std::string path;
  Expected expected = Expected::any();
};
// Succeeds when the record exists at that version. With any(): when it exists.
struct CheckOp {
  std::string path;
  Expected expected = Expected::any();
};
using WriteOp = std::variant<CreateOp, SetOp, RemoveOp, CheckOp>;

enum class SessionEvent {
  connected,     // the session is usable (at start, after a loss, after an expiry)
  disconnected,  // no contact; the session may still live, and so its ephemerals
  expired,       // the session ended and its ephemerals are gone; a new one is being
                 // made by itself: re-create ephemerals after the next `connected`.
                 // Every pending watcher is called too
};

template <typename T>
using Callback = std::function<void(Result<T>)>;

// Called once, when what was read has changed or may have (also at `expired`). It
// says only "look again"; changes between the event and the next read are seen by
// that read, so nothing is missed, and any number of changes may be one event. Not
// called at close. It is called after the callback of the read that set it.
using Watcher = std::function<void()>;
using SessionHandler = std::function<void(SessionEvent)>;

class Coordinator {
 public:
  Coordinator() = default;
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;
  virtual ~Coordinator() = default;

  // Errors: no_node (no parent), node_exists, no_children_for.
  void create(std::string path, std::string data, CreateMode mode, Deadline deadline,
              Callback<Stat> done);
  // Errors: no_node, bad_version.
  void set(std::string path, std::string data, Expected expected, Deadline deadline,
           Callback<Stat> done);
  // Errors: no_node, bad_version, not_empty. A remove whose answer was lost and
  // which then finds no node is ok: it is gone, by this call or by a racing one.
  void remove(std::string path, Expected expected, Deadline deadline, Callback<void> done);
  // All or nothing, in order; each operation sees those before it. Result: a Stat
  // per operation (empty for remove and check). Errors as above, with failed_op.
  void multi(std::vector<WriteOp> ops, Deadline deadline, Callback<std::vector<Stat>> done,
             WriteOn where = WriteOn::callback_thread);

  // With a watcher: called when the record is changed, removed, or, if this answers
  // no_node, created. A watcher of a read that failed otherwise is never called.
  void get(std::string path, Deadline deadline, Callback<Record> done, Watcher watcher = {});
  // With a watcher: called when a child is created or removed, the path itself is
  // removed, or, if this answers no_node, created.
  void list(std::string path, Deadline deadline, Callback<Children> done, Watcher watcher = {});

  // The current session; 0 while there is none.
  virtual SessionId session_id() const = 0;
  virtual bool connected() const = 0;
  virtual bool on_callback_thread() const = 0;

  // Runs `task` on the callback thread at `time`, or at close if that is earlier. With a
  // time in the past it is a way onto the thread.
  virtual void run_at(Deadline time, std::function<void()> task) = 0;

  // Ends the session (its ephemerals go at once, if the service can be reached),
  // answers what is pending with `closed` (a write that was sent: `deadline`), and
  // returns when the last callback has returned. May take seconds with ZooKeeper.
  // Idempotent; destructors call it.
  virtual void close() = 0;

 protected:
  // What implementations provide. Arguments are valid; `done` is not empty.
  virtual void start_write(std::vector<WriteOp> ops, Deadline deadline,
                           Callback<std::vector<Stat>> done, WriteOn where) = 0;
  virtual void start_get(std::string path, Deadline deadline, Callback<Record> done,
                         Watcher watcher) = 0;
  virtual void start_list(std::string path, Deadline deadline, Callback<Children> done,
                          Watcher watcher) = 0;
  // Runs `task` on the callback thread (in the caller's once that has ended).
  virtual void post(std::function<void()> task) = 0;
};

// Paths: absolute, '/'-separated, no empty, "." or ".." component, no trailing '/',
// printable ASCII only (other bytes are percent-encoded, see names.h), at most
// kMaxPathBytes. "/" may be read and listed but not written.
Result<void> validate_path(std::string_view path);

// "/a/b" → "/a"; "/a" → "/".
std::string_view parent_path(std::string_view path);

}  // namespace godwit::coord
