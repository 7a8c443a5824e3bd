// LocalStore: the database of a local directory: records, sessions, and the number of
// each change. Synchronous; policy and threads are LocalCoordinator's.
//
// Schema (application_id and user_version name it; see local_schema.cc):
//   nodes     a record a row: (parent, name), data, version, owner session of an
//             ephemeral, and the numbers of the changes that created it, last changed
//             its data, its children, and removed a child of it
//   sessions  who takes part: id, slot in the liveness file, process, time-out
//   meta      change (the last number given out), next_session, boot, liveness file
//
// Every change gets the next number; so "what changed since N" is a range of an index,
// and no log is kept. Several writes go into one transaction: begin(), apply()...,
// commit().
//
// Owner and only user: LocalCoordinator, on its callback thread. What liveness() gives may be
// shared with others.
#pragma once

#include <godwit/coord/coordinator.h>

#include "liveness_file.h"
#include "sqlite_statement.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace godwit::coord {

// What a commit of anybody changed since a number.
struct ChangeSet {
  struct Path {
    std::string path;
    std::int64_t change;
    std::int64_t child_removed = 0;
  };
  std::int64_t last = 0;
  std::vector<Path> records;   // created or set
  std::vector<Path> children;  // whose children were created or removed
};

class LocalStore {
 public:
  struct Options {
    std::string folder;
    std::chrono::milliseconds session_timeout{};
    std::string boot_id;  // this machine's current one; tests give others
  };
  static std::string current_boot_id();

  static Result<std::unique_ptr<LocalStore>> open(Options options);
  LocalStore(const LocalStore&) = delete;
  LocalStore& operator=(const LocalStore&) = delete;
  ~LocalStore() = default;

  // --- Sessions; each is a transaction of its own, `unavailable` when the lock was not
  // had in time ---------------------------------------------------------------------
  struct Session {
    SessionId id = 0;
    std::uint32_t slot = 0;
  };
  // Also attaches to the liveness file, making it if nobody has.
  Result<Session> open_session(Deadline deadline);
  Result<void> end_session(const Session& session, Deadline deadline);
  // Ends a session of another, if its owner is still not alive by now. True: it did.
  Result<bool> expire(const Session& session, Deadline deadline);
  // After the liveness file was removed: to whatever file the others use now.
  Result<void> reattach(Deadline deadline);
  static bool is_alive(LivenessFile& liveness, const Session& session);

  const std::shared_ptr<LivenessFile>& liveness() const { return liveness_; }

  // --- Writes -----------------------------------------------------------------------
  // Takes the write lock, or answers `unavailable` if another has it. Never waits.
  Result<void> try_begin();
  // In a transaction: whether the session still exists.
  Result<bool> session_exists(SessionId session);
  // One write, all or nothing. After an error for which is_storage_error() is true the
  // transaction is of no use any more; if the write is `alone` in it, after any error.
  Result<std::vector<Stat>> apply(const std::vector<WriteOp>& ops, SessionId session,
                                  bool alone = false);
  Result<void> commit();
  bool is_checkpoint_due() const;
  // Empties the write-ahead log once it has grown, for a few milliseconds. Not in a transaction.
  void checkpoint_if_due();
  void rollback();
  static bool is_storage_error(Errc code);

  // --- Reads, outside of a transaction; `unavailable`: try again ----------------------
  // `seen`, unless null: the number of the last change that the answer includes, also
  // of a no_node.
  Result<Record> get(std::string_view path, std::int64_t* seen);
  Result<Children> list(std::string_view path, std::int64_t* seen);
  Result<ChangeSet> changes_since(std::int64_t number);
  Result<bool> exists(std::string_view path);

 private:
  struct Statements;
  LocalStore(Options options, Database database);

  Result<void> create_schema_or_check_it();
  Result<void> prepare();
  Result<void> begin(Deadline deadline);
  Result<void> attach();
  Result<void> make_liveness_file(const std::string& old_path);
  Result<void> remove_liveness_file_if_last();
  void detach_uncommitted();
  Result<void> forget_all_sessions();
  Result<void> remove_session(SessionId session);
  Result<void> run(Statement& statement, std::string_view doing);
  Error error(std::string_view doing) { return sqlite_error(database_.get(), doing); }
  Error read_error(int code, std::string_view doing);
  Result<std::string> meta(std::string_view key);
  Result<void> set_meta(std::string_view key, std::string_view value);

  Result<Stat> apply_one(const WriteOp& op, SessionId session);
  Result<Stat> apply_create(const CreateOp& op, SessionId session);
  Result<Stat> apply_set(const SetOp& op);
  Result<Stat> apply_remove(const std::string& path, std::int32_t expected);
  Result<Stat> apply_check(const CheckOp& op);
  Result<std::int64_t> last_change();

  Options options_;
  Database database_;
  int log_pages_ = 0;  // after the last commit here
  struct StatementsDelete {
    void operator()(Statements* statements) const;
  };
  std::unique_ptr<Statements, StatementsDelete> statements_;
  std::shared_ptr<LivenessFile> liveness_;
  // Of a file made in a transaction that is still open, and what it replaced.
  std::string uncommitted_liveness_path_;
  std::shared_ptr<LivenessFile> previous_liveness_;
  std::int64_t change_ = 0;  // last number given out, in a transaction
  std::int64_t change_at_begin_ = 0;
};

}  // namespace godwit::coord
