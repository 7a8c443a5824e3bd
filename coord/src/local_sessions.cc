// LocalStore: sessions, and the liveness file that goes with them.
#include "local_statements.h"
#include "local_store.h"
#include "random.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <utility>

namespace godwit::coord {
namespace {

std::string hexadecimal(std::uint64_t number) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(number));
  return text.data();
}

// Whether a process of this pid namespace has ended. A zombie has; so has a pid that is
// nobody's. One that another process got since looks alive: its stamps tell then.
bool has_ended(pid_t pid) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return errno == ESRCH;
  pollfd ended{fd, POLLIN, 0};
  const bool readable = poll(&ended, 1, 0) == 1;
  ::close(fd);
  return readable;
}

}  // namespace

bool LocalStore::is_alive(LivenessFile& liveness, const Session& session) {
  static const std::uint64_t this_namespace = ProcessIdentity::of_this().pid_namespace;
  LivenessFile::Slot& slot = liveness.slot(session.slot);
  if (slot.session != session.id) return false;
  if (monotonic_ns() - slot.heartbeat_ns > slot.timeout_ns) return false;
  const bool comparable = slot.pid_namespace == this_namespace && this_namespace != 0;
  return !comparable || !has_ended(slot.pid);
}

Result<void> LocalStore::begin(Deadline deadline) {
  constexpr auto kRetry = std::chrono::milliseconds(2);
  for (;;) {
    auto begun = try_begin();
    if (begun || begun.error().code != Errc::unavailable) return begun;
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return begun;
    if (liveness_) {
      liveness_->announce_waiting();
      liveness_->wait_change(liveness_->changes(), kRetry);
    } else {
      usleep(std::chrono::microseconds(kRetry).count());
    }
  }
}

// In a transaction. After a restart of the machine nothing of the sessions is true any
// more: the processes are gone and the clock of the stamps began again.
Result<void> LocalStore::attach() {
  auto boot = meta("boot");
  if (!boot) return tl::unexpected<Error>(std::move(boot.error()));
  auto path = meta("liveness_path");
  if (!path) return tl::unexpected<Error>(std::move(path.error()));
  auto id = meta("liveness_id");
  if (!id) return tl::unexpected<Error>(std::move(id.error()));
  if (*boot != options_.boot_id) {
    if (auto forgotten = forget_all_sessions(); !forgotten) return forgotten;
    if (auto set = set_meta("boot", options_.boot_id); !set) return set;
    return make_liveness_file(*path);
  }
  std::uint64_t number = 0;
  std::from_chars(id->data(), id->data() + id->size(), number, 16);
  auto opened = LivenessFile::open(*path, number);
  if (opened) {
    liveness_ = std::move(*opened);
    return {};
  }
  const Errc code = opened.error().code;
  if (code != Errc::no_node && code != Errc::corrupt)
    return tl::unexpected<Error>(std::move(opened.error()));
  return make_liveness_file(*path);
}

Result<void> LocalStore::make_liveness_file(const std::string& old_path) {
  if (!old_path.empty()) unlink(old_path.c_str());
  const std::uint64_t id = random_u64();
  const bool has_shm = access("/dev/shm", W_OK | X_OK) == 0;
  const std::string path =
      has_shm ? "/dev/shm/godwit-" + hexadecimal(id) : options_.folder + "/liveness";
  auto made = LivenessFile::create(path, id);
  if (!made) return tl::unexpected<Error>(std::move(made.error()));
  // Sessions that live on (their file was removed under them) get a fresh stamp, so
  // that they have their whole time-out to notice and move here.
  {
    Run once(statements_->sessions);
    int code = once->step();
    for (; code == SQLITE_ROW; code = once->step()) {
      const ProcessIdentity owner{static_cast<pid_t>(once->integer(2)),
                                  static_cast<std::uint64_t>(once->integer(3))};
      (*made)->claim(static_cast<std::uint32_t>(once->integer(1)),
                     static_cast<SessionId>(once->integer(0)),
                     std::chrono::nanoseconds(once->integer(4)), owner);
    }
    if (code != SQLITE_DONE) return tl::unexpected<Error>(read_error(code, "reading sessions"));
  }
  previous_liveness_ = std::exchange(liveness_, std::move(*made));
  uncommitted_liveness_path_ = path;
  if (auto set = set_meta("liveness_path", path); !set) return set;
  return set_meta("liveness_id", hexadecimal(id));
}

Result<void> LocalStore::forget_all_sessions() {
  std::vector<SessionId> all;
  {
    Run once(statements_->sessions);
    int code = once->step();
    for (; code == SQLITE_ROW; code = once->step())
      all.push_back(static_cast<SessionId>(once->integer(0)));
    if (code != SQLITE_DONE) return tl::unexpected<Error>(read_error(code, "reading sessions"));
  }
  for (const SessionId session : all)
    if (auto removed = remove_session(session); !removed) return removed;
  return {};
}

Result<void> LocalStore::remove_session(SessionId session) {
  std::vector<std::string> owned;
  {
    Run once(statements_->owned_by);
    once->bind(static_cast<std::int64_t>(session));
    int code = once->step();
    for (; code == SQLITE_ROW; code = once->step())
      owned.push_back(path_of(once->bytes(0), once->bytes(1)));
    if (code != SQLITE_DONE) return tl::unexpected<Error>(read_error(code, "reading ephemerals"));
  }
  for (const std::string& path : owned)
    if (auto removed = apply_remove(path, -1); !removed)
      return tl::unexpected<Error>(std::move(removed.error()));
  // A session's end is a change even when it owned nothing: the announcement makes up
  // for one that its owner was killed before making.
  ++change_;
  statements_->remove_session.bind(static_cast<std::int64_t>(session));
  return run(statements_->remove_session, "removing a session");
}

Result<LocalStore::Session> LocalStore::open_session(Deadline deadline) {
  if (auto begun = begin(deadline); !begun) return tl::unexpected<Error>(std::move(begun.error()));
  const auto give_up = [this](Error failure) -> Result<Session> {
    detach_uncommitted();
    return tl::unexpected<Error>(std::move(failure));
  };
  if (!liveness_ || !liveness_->still_linked())
    if (auto attached = attach(); !attached) return give_up(std::move(attached.error()));
  std::array<bool, kMaxSessions> taken{};
  {
    Run once(statements_->sessions);
    int code = once->step();
    for (; code == SQLITE_ROW; code = once->step())
      taken[static_cast<std::size_t>(once->integer(1)) % kMaxSessions] = true;
    if (code != SQLITE_DONE) return give_up(read_error(code, "reading sessions"));
  }
  Session session;
  while (session.slot < kMaxSessions && taken[session.slot]) ++session.slot;
  if (session.slot == kMaxSessions)
    return give_up({Errc::limit_exceeded, "all " + std::to_string(kMaxSessions) +
                                              " sessions of the local directory are taken"});
  auto next = meta("next_session");
  if (!next) return give_up(std::move(next.error()));
  std::from_chars(next->data(), next->data() + next->size(), session.id);
  if (auto set = set_meta("next_session", std::to_string(session.id + 1)); !set)
    return give_up(std::move(set.error()));
  const auto owner = ProcessIdentity::of_this();
  const std::chrono::nanoseconds timeout = options_.session_timeout;
  statements_->add_session.bind(static_cast<std::int64_t>(session.id))
      .bind(std::int64_t{session.slot})
      .bind(std::int64_t{owner.pid})
      .bind(static_cast<std::int64_t>(owner.pid_namespace))
      .bind(std::int64_t{timeout.count()});
  if (auto added = run(statements_->add_session, "adding a session"); !added)
    return give_up(std::move(added.error()));
  // Before the commit: a session that others can see has a stamp.
  liveness_->claim(session.slot, session.id, timeout, owner);
  if (auto committed = commit(); !committed) {
    liveness_->release(session.slot, session.id);
    return give_up(std::move(committed.error()));
  }
  uncommitted_liveness_path_.clear();
  return session;
}

Result<void> LocalStore::end_session(const Session& session, Deadline deadline) {
  if (auto begun = begin(deadline); !begun) return begun;
  auto removed = remove_session(session.id);
  if (removed) removed = remove_liveness_file_if_last();
  if (removed) removed = commit();
  if (!removed) {
    rollback();
    return removed;
  }
  liveness_->release(session.slot, session.id);
  return {};
}

// The last one out leaves nothing in /dev/shm. Should the commit fail, the next one in
// finds no file and makes a new one, as after a clean-up by others.
Result<void> LocalStore::remove_liveness_file_if_last() {
  {
    Run once(statements_->sessions);
    const int code = once->step();
    if (code == SQLITE_ROW) return {};
    if (code != SQLITE_DONE) return tl::unexpected<Error>(read_error(code, "reading sessions"));
  }
  auto path = meta("liveness_path");
  if (!path) return tl::unexpected<Error>(std::move(path.error()));
  if (!path->empty()) unlink(path->c_str());
  return {};
}

Result<bool> LocalStore::expire(const Session& session, Deadline deadline) {
  if (auto begun = begin(deadline); !begun) return tl::unexpected<Error>(std::move(begun.error()));
  auto exists = session_exists(session.id);
  // Looked at again under the lock: it may have stamped, or another was faster.
  const bool expired = exists && *exists && !is_alive(*liveness_, session);
  Result<void> done;
  if (!exists) done = tl::unexpected<Error>(std::move(exists.error()));
  if (expired) done = remove_session(session.id);
  if (done && expired) done = commit();
  if (!done || !expired) rollback();
  if (!done) return tl::unexpected<Error>(std::move(done.error()));
  // Gone from the database, so nobody's: also when another expired it and was killed
  // before it could free the slot.
  if (expired || !*exists) liveness_->release(session.slot, session.id);
  return expired;
}

Result<void> LocalStore::reattach(Deadline deadline) {
  if (auto begun = begin(deadline); !begun) return begun;
  auto attached = attach();
  if (attached) attached = commit();
  if (attached) {
    uncommitted_liveness_path_.clear();
  } else {
    detach_uncommitted();
  }
  return attached;
}

// Undoes a transaction that may have made a liveness file nobody will hear of.
void LocalStore::detach_uncommitted() {
  rollback();
  if (uncommitted_liveness_path_.empty()) return;
  unlink(uncommitted_liveness_path_.c_str());
  uncommitted_liveness_path_.clear();
  liveness_ = std::move(previous_liveness_);
}

}  // namespace godwit::coord
