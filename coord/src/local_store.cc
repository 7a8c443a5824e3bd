// LocalStore: transactions, writes and reads.
#include "local_store.h"

#include "local_statements.h"

#include <charconv>

namespace godwit::coord {
namespace {

// Of the write-ahead log, 4 KiB each.
constexpr int kCheckpointPages = 1000;

std::int64_t to_integer(std::string_view text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string version_message(std::string_view path, std::int64_t is, std::int32_t expected) {
  return std::string(path) + " is at version " + std::to_string(is) + ", not " +
         std::to_string(expected);
}

}  // namespace

bool LocalStore::is_storage_error(Errc code) {
  return code == Errc::no_space || code == Errc::io_error || code == Errc::corrupt ||
         code == Errc::unavailable;
}

Result<void> LocalStore::run(Statement& statement, std::string_view doing) {
  Run once(statement);
  const int code = once->step();
  if (code == SQLITE_DONE || code == SQLITE_ROW) return {};
  return tl::unexpected<Error>(read_error(code, doing));
}

Error LocalStore::read_error(int code, std::string_view doing) {
  if ((code & 0xff) == SQLITE_BUSY)
    return Error{Errc::unavailable, std::string(doing) + ": the local directory is busy"};
  return error(doing);
}

Result<std::string> LocalStore::meta(std::string_view key) {
  Run once(statements_->get_meta);
  once->bind(key);
  if (const int code = once->step(); code != SQLITE_ROW)
    return tl::unexpected<Error>(read_error(code, "reading the local directory"));
  return once->bytes(0);
}

Result<void> LocalStore::set_meta(std::string_view key, std::string_view value) {
  statements_->set_meta.bind(key).bind(value);
  return run(statements_->set_meta, "writing the local directory");
}

Result<std::int64_t> LocalStore::last_change() {
  return meta("change").map(to_integer);
}

Result<void> LocalStore::try_begin() {
  if (auto begun = run(statements_->begin, "beginning a write"); !begun) return begun;
  auto change = last_change();
  if (!change) {
    rollback();
    return tl::unexpected<Error>(std::move(change.error()));
  }
  change_ = change_at_begin_ = *change;
  return {};
}

void LocalStore::rollback() {
  // After some errors (a full disk) SQLite has already done it.
  if (database_.in_transaction()) static_cast<void>(run(statements_->rollback, "undoing a write"));
}

Result<void> LocalStore::commit() {
  const bool changed = change_ != change_at_begin_;
  Result<void> done;
  if (changed) done = set_meta("change", std::to_string(change_));
  if (done) done = run(statements_->commit, "committing a write");
  if (!done) {
    rollback();
    return done;
  }
  if (changed && liveness_) liveness_->announce_change();
  return {};
}

bool LocalStore::is_checkpoint_due() const {
  return log_pages_ >= kCheckpointPages;
}

void LocalStore::checkpoint_if_due() {
  if (!is_checkpoint_due()) return;
  log_pages_ = 0;
  // Readers elsewhere may hold a part of it back: the next one takes that along.
  sqlite3_wal_checkpoint_v2(database_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
}

Result<bool> LocalStore::session_exists(SessionId session) {
  Run once(statements_->find_session);
  once->bind(static_cast<std::int64_t>(session));
  const int code = once->step();
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return tl::unexpected<Error>(read_error(code, "reading the local directory"));
}

Result<std::vector<Stat>> LocalStore::apply(const std::vector<WriteOp>& ops, SessionId session,
                                            bool alone) {
  // A single operation checks everything before it changes anything; several may have
  // to be undone, unless that is done with the whole transaction.
  const bool several = ops.size() > 1 && !alone;
  const std::int64_t change_before = change_;
  if (several)
    if (auto saved = run(statements_->savepoint, "a multi"); !saved)
      return tl::unexpected<Error>(std::move(saved.error()));
  std::vector<Stat> stats;
  stats.reserve(ops.size());
  for (const WriteOp& op : ops) {
    auto stat = apply_one(op, session);
    if (!stat) {
      Error failure = std::move(stat.error());
      failure.failed_op = static_cast<int>(stats.size());
      if (several && !is_storage_error(failure.code)) {
        auto undone = run(statements_->undo, "undoing a multi");
        if (undone) undone = run(statements_->release, "undoing a multi");
        if (!undone) return tl::unexpected<Error>(std::move(undone.error()));
        change_ = change_before;
      }
      return tl::unexpected<Error>(std::move(failure));
    }
    stats.push_back(*stat);
  }
  if (several)
    if (auto released = run(statements_->release, "a multi"); !released)
      return tl::unexpected<Error>(std::move(released.error()));
  return stats;
}

Result<Stat> LocalStore::apply_one(const WriteOp& op, SessionId session) {
  if (const auto* create = std::get_if<CreateOp>(&op)) return apply_create(*create, session);
  if (const auto* set = std::get_if<SetOp>(&op)) return apply_set(*set);
  if (const auto* remove = std::get_if<RemoveOp>(&op))
    return apply_remove(remove->path, remove->expected.number());
  return apply_check(std::get<CheckOp>(op));
}

Result<Stat> LocalStore::apply_create(const CreateOp& op, SessionId session) {
  const NodeKey key = key_of(op.path);
  const NodeKey parent = key_of(key.parent);
  {
    Run once(statements_->find);
    once->bind(parent.parent).bind(parent.name);
    const int code = once->step();
    if (code == SQLITE_DONE)
      return fail(Errc::no_node, std::string(key.parent) + ", the parent, does not exist");
    if (code != SQLITE_ROW) return tl::unexpected<Error>(error("creating a record"));
    if (once->integer(1) != 0)
      return fail(Errc::no_children_for, std::string(key.parent) + ", the parent, is ephemeral");
  }
  const bool ephemeral = op.mode == CreateMode::ephemeral;
  const std::int64_t change = change_ + 1;
  statements_->insert.bind(key.parent)
      .bind(key.name)
      .bind_blob(op.data)
      .bind(ephemeral ? static_cast<std::int64_t>(session) : 0)
      .bind(change);
  if (auto inserted = run(statements_->insert, "creating a record"); !inserted)
    return tl::unexpected<Error>(std::move(inserted.error()));
  if (sqlite3_changes(database_.get()) == 0) return fail(Errc::node_exists, op.path + " exists");
  change_ = change;
  statements_->child_added.bind(parent.parent).bind(parent.name).bind(change);
  if (auto added = run(statements_->child_added, "creating a record"); !added)
    return tl::unexpected<Error>(std::move(added.error()));
  Stat stat;
  if (ephemeral) stat.ephemeral_owner = session;
  return stat;
}

Result<Stat> LocalStore::apply_check(const CheckOp& op) {
  const NodeKey key = key_of(op.path);
  Run once(statements_->find);
  once->bind(key.parent).bind(key.name);
  const int code = once->step();
  if (code == SQLITE_DONE) return fail(Errc::no_node, op.path + " does not exist");
  if (code != SQLITE_ROW) return tl::unexpected<Error>(error("checking a record"));
  Stat stat;
  stat.version = static_cast<std::int32_t>(once->integer(0));
  stat.ephemeral_owner = static_cast<SessionId>(once->integer(1));
  const std::int32_t expected = op.expected.number();
  if (expected >= 0 && stat.version != expected)
    return fail(Errc::bad_version, version_message(op.path, stat.version, expected));
  return stat;
}

Result<Stat> LocalStore::apply_set(const SetOp& op) {
  auto stat = apply_check({op.path, op.expected});
  if (!stat) return stat;
  const NodeKey key = key_of(op.path);
  statements_->set.bind(key.parent).bind(key.name).bind_blob(op.data).bind(change_ + 1);
  if (auto set = run(statements_->set, "writing a record"); !set)
    return tl::unexpected<Error>(std::move(set.error()));
  ++change_;
  ++stat->version;
  return stat;
}

Result<Stat> LocalStore::apply_remove(const std::string& path, std::int32_t expected) {
  const NodeKey key = key_of(path);
  {
    Run once(statements_->find);
    once->bind(key.parent).bind(key.name);
    const int code = once->step();
    if (code == SQLITE_DONE) return fail(Errc::no_node, path + " does not exist");
    if (code != SQLITE_ROW) return tl::unexpected<Error>(error("removing a record"));
    if (expected >= 0 && once->integer(0) != expected)
      return fail(Errc::bad_version, version_message(path, once->integer(0), expected));
    if (once->integer(2) != 0) return fail(Errc::not_empty, path + " has children");
  }
  statements_->remove.bind(key.parent).bind(key.name);
  if (auto removed = run(statements_->remove, "removing a record"); !removed)
    return tl::unexpected<Error>(std::move(removed.error()));
  ++change_;
  const NodeKey parent = key_of(key.parent);
  statements_->child_removed.bind(parent.parent).bind(parent.name).bind(change_);
  if (auto told = run(statements_->child_removed, "removing a record"); !told)
    return tl::unexpected<Error>(std::move(told.error()));
  return Stat{};
}

namespace {

// One moment's view for several statements. Ended by the destructor: it has written
// nothing, so ending it either way is the same.
class ReadTransaction {
 public:
  ReadTransaction(Statement& begin, Statement& end) : end_(end) {
    Run once(begin);
    code_ = once->step();
  }
  ~ReadTransaction() {
    if (code_ != SQLITE_DONE) return;
    Run once(end_);
    once->step();
  }
  ReadTransaction(const ReadTransaction&) = delete;
  ReadTransaction& operator=(const ReadTransaction&) = delete;
  int code() const { return code_; }

 private:
  Statement& end_;
  int code_ = SQLITE_ERROR;
};

}  // namespace

Result<Record> LocalStore::get(std::string_view path, std::int64_t* seen) {
  ReadTransaction transaction(statements_->begin_read, statements_->commit);
  if (transaction.code() != SQLITE_DONE)
    return tl::unexpected<Error>(read_error(transaction.code(), "reading"));
  if (seen != nullptr) {
    auto change = last_change();
    if (!change) return tl::unexpected<Error>(std::move(change.error()));
    *seen = *change;
  }
  const NodeKey key = key_of(path);
  Run once(statements_->read);
  once->bind(key.parent).bind(key.name);
  const int code = once->step();
  if (code == SQLITE_DONE) return fail(Errc::no_node, std::string(path) + " does not exist");
  if (code != SQLITE_ROW) return tl::unexpected<Error>(read_error(code, path));
  Record record;
  record.data = once->bytes(0);
  record.stat.version = static_cast<std::int32_t>(once->integer(1));
  record.stat.created = static_cast<std::uint64_t>(once->integer(2));
  record.stat.ephemeral_owner = static_cast<SessionId>(once->integer(3));
  record.stat.children = static_cast<std::int32_t>(once->integer(4));
  return record;
}

Result<Children> LocalStore::list(std::string_view path, std::int64_t* seen) {
  ReadTransaction transaction(statements_->begin_read, statements_->commit);
  if (transaction.code() != SQLITE_DONE)
    return tl::unexpected<Error>(read_error(transaction.code(), "listing"));
  if (seen != nullptr) {
    auto change = last_change();
    if (!change) return tl::unexpected<Error>(std::move(change.error()));
    *seen = *change;
  }
  const NodeKey key = key_of(path);
  Children children;
  {
    Run once(statements_->read);
    once->bind(key.parent).bind(key.name);
    const int code = once->step();
    if (code == SQLITE_DONE) return fail(Errc::no_node, std::string(path) + " does not exist");
    if (code != SQLITE_ROW) return tl::unexpected<Error>(read_error(code, path));
    children.stat.version = static_cast<std::int32_t>(once->integer(1));
    children.stat.created = static_cast<std::uint64_t>(once->integer(2));
    children.stat.ephemeral_owner = static_cast<SessionId>(once->integer(3));
    children.stat.children = static_cast<std::int32_t>(once->integer(4));
  }
  Run once(statements_->children);
  once->bind(path);
  int code = once->step();
  for (; code == SQLITE_ROW; code = once->step()) children.names.push_back(once->bytes(0));
  if (code != SQLITE_DONE) return tl::unexpected<Error>(read_error(code, path));
  return children;
}

Result<bool> LocalStore::exists(std::string_view path) {
  const NodeKey key = key_of(path);
  Run once(statements_->find);
  once->bind(key.parent).bind(key.name);
  const int code = once->step();
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return tl::unexpected<Error>(read_error(code, path));
}

Result<ChangeSet> LocalStore::changes_since(std::int64_t number) {
  ReadTransaction transaction(statements_->begin_read, statements_->commit);
  if (transaction.code() != SQLITE_DONE)
    return tl::unexpected<Error>(read_error(transaction.code(), "looking for changes"));
  ChangeSet changes;
  auto last = last_change();
  if (!last) return tl::unexpected<Error>(std::move(last.error()));
  changes.last = *last;
  {
    Run once(statements_->changed_records);
    once->bind(number);
    int code = once->step();
    for (; code == SQLITE_ROW; code = once->step())
      changes.records.push_back({path_of(once->bytes(0), once->bytes(1)), once->integer(2)});
    if (code != SQLITE_DONE) return tl::unexpected<Error>(read_error(code, "changes"));
  }
  Run once(statements_->changed_children);
  once->bind(number);
  int code = once->step();
  for (; code == SQLITE_ROW; code = once->step())
    changes.children.push_back(
        {path_of(once->bytes(0), once->bytes(1)), once->integer(2), once->integer(3)});
  if (code != SQLITE_DONE) return tl::unexpected<Error>(read_error(code, "changes"));
  return changes;
}

}  // namespace godwit::coord
