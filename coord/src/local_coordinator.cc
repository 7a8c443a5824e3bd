// LocalCoordinator, and the callback thread of its Impl.
#include <godwit/coord/local_coordinator.h>

#include "local_impl.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace godwit::coord {
namespace {

using Clock = std::chrono::steady_clock;

// Writes to a transaction. More gain little and make the first of them wait.
constexpr std::size_t kBatch = 512;
// Between tries for the write lock when nobody tells that it is free.
constexpr auto kLockRetry = std::chrono::milliseconds(2);
// After a commit, for the sake of another participant that waits for the lock: longer
// than its wake-up takes.
constexpr auto kLetOthersGo = std::chrono::microseconds(200);
// For what is not on behalf of an operation.
constexpr auto kErrandTime = std::chrono::seconds(2);

}  // namespace

LocalCoordinator::Impl::Impl(LocalOptions options, std::unique_ptr<LocalStore> store,
                             LocalStore::Session session)
    : options_(std::move(options)), store_(std::move(store)) {
  adopt(session);
  heartbeat_thread_ = std::thread([this] { run_heartbeat(); });
  pthread_setname_np(heartbeat_thread_.native_handle(), "godwit-heart");
}

void LocalCoordinator::Impl::submit(Request request) {
  std::unique_lock lock(mutex_);
  if (!closing_ && queue_.size() < kMaxOutstanding) {
    queue_.push_back(std::move(request));
    return want_service(std::move(lock));
  }
  const bool closed = closing_;
  lock.unlock();
  if (!closed) return refuse(request, Errc::overloaded, "too many operations are pending");
  refuse(request, Errc::closed, "the coordinator is closed");
}

void LocalCoordinator::Impl::want_service(std::unique_lock<std::mutex> lock) {
  if (std::exchange(served_soon_, true)) return;
  lock.unlock();  // the thread would wait for it at once
  thread_.post([this] { serve(); });
}

void LocalCoordinator::Impl::refuse(Request& request, Errc code, const char* why) {
  std::visit(
      [&](auto& any) {
        thread_.post(
            [done = any.done, error = Error{code, why}] { done({tl::unexpected<Error>(error)}); });
      },
      request);
}

void LocalCoordinator::Impl::emit(SessionEvent event) {
  if (options_.on_session) thread_.post([this, event] { options_.on_session(event); });
}

void LocalCoordinator::Impl::fire(std::vector<Watcher> watchers) {
  for (Watcher& watcher : watchers) thread_.post(std::move(watcher));
}

// --- The callback thread -----------------------------------------------------------

// Errands, and the next read or the next writes; what is left is served behind all that was
// posted meanwhile.
void LocalCoordinator::Impl::serve() {
  std::unique_lock lock(mutex_);
  served_soon_ = false;
  if (closing_) {
    std::deque<Request> rest = std::move(queue_);
    lock.unlock();
    for (Request& request : rest) refuse(request, Errc::closed, "the coordinator was closed");
    return;
  }
  const Errands errands = std::exchange(errands_, {});
  std::vector<Write> writes;
  std::optional<Request> read;
  while (!queue_.empty() && writes.size() < kBatch) {
    auto* write = std::get_if<Write>(&queue_.front());
    if (write == nullptr && !writes.empty()) break;
    if (write != nullptr) {
      writes.push_back(std::move(*write));
    } else {
      read.emplace(std::move(queue_.front()));
    }
    queue_.pop_front();
    if (read) break;
  }
  lock.unlock();
  if (errands.any()) run_errands(errands);
  if (!writes.empty()) serve_writes(std::move(writes));
  if (read && std::holds_alternative<Get>(*read))
    serve_read(
        std::move(std::get<Get>(*read)), LocalWatches::Kind::record,
        [this](const std::string& path, std::int64_t* seen) { return store_->get(path, seen); });
  if (read && std::holds_alternative<List>(*read))
    serve_read(
        std::move(std::get<List>(*read)), LocalWatches::Kind::children,
        [this](const std::string& path, std::int64_t* seen) { return store_->list(path, seen); });
  lock.lock();
  if (!queue_.empty()) want_service(std::move(lock));
}

// Takes the write lock for the batch; answers those of it whose deadline comes first,
// and gives back the others, with the lock held, or none.
std::vector<LocalCoordinator::Impl::Write> LocalCoordinator::Impl::wait_for_lock(
    std::vector<Write> batch) {
  while (!batch.empty()) {
    const Result<void> begun = begin_in_session();
    const auto now = Clock::now();
    const auto late = std::stable_partition(
        batch.begin(), batch.end(), [&](const Write& write) { return write.deadline > now; });
    for (auto at = late; at != batch.end(); ++at) {
      const auto tell = [done = at->done] {
        done({fail(Errc::unavailable, "the local directory was busy until the deadline")});
      };
      // Not while the lock is held: a callback takes its time.
      if (begun) {
        thread_.post(tell);
      } else {
        tell();
      }
    }
    batch.erase(late, batch.end());
    if (begun) {
      if (batch.empty()) store_->rollback();
      return batch;
    }
    if (begun.error().code != Errc::unavailable) {
      for (const Write& write : batch) write.done({tl::unexpected<Error>(begun.error())});
      return {};
    }
    if (is_closing()) {
      for (const Write& write : batch)
        write.done({fail(Errc::closed, "the coordinator was closed")});
      return {};
    }
    const auto& liveness = store_->liveness();
    liveness->announce_waiting();
    liveness->wait_change(liveness->changes(), kLockRetry);
  }
  return {};
}

// A write transaction in which the session exists, renewed if it had been expired.
Result<void> LocalCoordinator::Impl::begin_in_session() {
  for (;;) {
    if (session_.id == 0)
      if (auto renewed = renew_session(); !renewed) return renewed;
    if (auto begun = store_->try_begin(); !begun) return begun;
    auto exists = store_->session_exists(session_.id);
    if (exists && *exists) return {};
    store_->rollback();
    if (!exists) return tl::unexpected<Error>(std::move(exists.error()));
    check_session();
  }
}

void LocalCoordinator::Impl::serve_writes(std::vector<Write> batch) {
  batch = wait_for_lock(std::move(batch));
  if (!batch.empty() && write_all(batch)) after_commit();
}

bool LocalCoordinator::Impl::may_overtake() {
  std::lock_guard lock(mutex_);
  return !closing_ && queue_.empty();
}

// The caller cannot wait, neither for the lock nor for what there is to do after a commit.
bool LocalCoordinator::Impl::write_here(const Write& write) {
  bool written = false;
  thread_.run_here([&] {
    if (!may_overtake() || session_.id == 0 || !store_->try_begin()) return;
    const auto exists = store_->session_exists(session_.id);
    if (!exists || !*exists) return store_->rollback();
    written = true;
    if (write_all({write}) && is_after_commit_due()) thread_.post([this] { after_commit(); });
  });
  return written;
}

// In a transaction, which it ends, and answers all. Whether it was committed.
bool LocalCoordinator::Impl::write_all(const std::vector<Write>& batch) {
  std::vector<Result<std::vector<Stat>>> results;
  results.reserve(batch.size());
  std::optional<Error> failure;
  const bool alone = batch.size() == 1;
  for (const Write& write : batch) {
    auto result = store_->apply(write.ops, session_.id, alone);
    if (!result && LocalStore::is_storage_error(result.error().code)) {
      failure = std::move(result.error());
      break;
    }
    results.push_back(std::move(result));
  }
  const bool refused = alone && !failure && !results.front();
  if (failure || refused) {
    store_->rollback();
  } else if (auto done = store_->commit(); !done) {
    failure = std::move(done.error());
  }
  const bool committed = !failure && !refused;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (failure) {
      batch[i].done({fail(failure->code, failure->message)});
    } else {
      batch[i].done(std::move(results[i]));
    }
  }
  return committed;
}

bool LocalCoordinator::Impl::is_after_commit_due() const {
  return store_->is_checkpoint_due() || store_->liveness()->anyone_waiting();
}

void LocalCoordinator::Impl::after_commit() {
  store_->checkpoint_if_due();
  // The watches here are looked after like those elsewhere: the heartbeat thread sees the change.
  if (store_->liveness()->anyone_waiting()) std::this_thread::sleep_for(kLetOthersGo);
}

template <typename Read, typename Do>
void LocalCoordinator::Impl::serve_read(Read read, LocalWatches::Kind kind, Do get) {
  std::int64_t seen = 0;
  for (;;) {
    if (Clock::now() >= read.deadline)
      return read.done({fail(Errc::unavailable, "not reached before the deadline")});
    auto result = get(read.path, read.watcher ? &seen : nullptr);
    if (!result && result.error().code == Errc::unavailable) {
      // Readers wait only for a recovery after a kill; it is short.
      std::this_thread::sleep_for(kLockRetry);
      continue;
    }
    const bool absent = !result && result.error().code == Errc::no_node;
    const bool watchable = result || absent;
    read.done(std::move(result));
    if (!read.watcher || !watchable) return;
    const bool first = watches_.empty();
    watches_.add(kind, read.path, seen, !absent, std::move(read.watcher));
    if (!first) return;
    // As long as there was nothing to look for, the heartbeat thread asked for no look:
    // a change made since the read would be missed.
    looked_at_ = seen;
    has_watches_ = true;
    return look_for_changes();
  }
}

void LocalCoordinator::Impl::look_for_changes() {
  if (watches_.empty()) return;
  const auto changes = store_->changes_since(looked_at_);
  if (!changes) {
    look_again_ = true;  // busy; the heartbeat thread asks again at its next beat
    return;
  }
  looked_at_ = changes->last;
  fire(watches_.take_fired(*changes, [this](const std::string& path) {
    const auto exists = store_->exists(path);
    return exists && *exists;
  }));
  has_watches_ = !watches_.empty();
}

void LocalCoordinator::Impl::run_errands(const Errands& errands) {
  if (errands.reattach) {
    if (auto attached = store_->reattach(after(kErrandTime)); !attached)
      spdlog::warn("coord: the local directory's liveness file: {}", attached.error().message);
    publish_liveness();
  }
  if (errands.check_session) check_session();
  for (const auto& [id, slot] : errands.expire) {
    const auto expired = store_->expire({id, slot}, after(kErrandTime));
    if (!expired) spdlog::warn("coord: expiring local session {}: {}", id, expired.error().message);
  }
  if (errands.look_for_changes || !errands.expire.empty()) look_for_changes();
}

// Whether the own session is still there; if it was expired, tells so and opens another.
void LocalCoordinator::Impl::check_session() {
  if (session_.id != 0) {
    const auto exists = store_->session_exists(session_.id);
    if (!exists || *exists) return;
    session_ = {};
    session_id_ = 0;
    publish_liveness();
    emit(SessionEvent::disconnected);
    emit(SessionEvent::expired);
    fire(watches_.take_all());
    has_watches_ = false;
  }
  if (auto renewed = renew_session(); !renewed && renewed.error().code != Errc::unavailable)
    spdlog::warn("coord: opening a local session: {}", renewed.error().message);
}

Result<void> LocalCoordinator::Impl::renew_session() {
  auto session = store_->open_session(Clock::now());
  if (!session) return tl::unexpected<Error>(std::move(session.error()));
  adopt(*session);
  return {};
}

void LocalCoordinator::Impl::adopt(const LocalStore::Session& session) {
  session_ = session;
  session_id_ = session.id;
  publish_liveness();
  emit(SessionEvent::connected);
}

void LocalCoordinator::Impl::publish_liveness() {
  std::lock_guard lock(mutex_);
  shared_ = {store_->liveness(), session_};
}

// --- LocalCoordinator ----------------------------------------------------------------

void LocalCoordinator::Impl::close() {
  std::call_once(closed_, [this] {
    {
      std::unique_lock lock(mutex_);
      closing_ = true;
      want_service(std::move(lock));
    }
    thread_.stop();
    if (session_.id != 0) {
      // Should it fail, the others expire the session as if its owner had died.
      const auto ended = store_->end_session(session_, after(kErrandTime));
      if (!ended) spdlog::warn("coord: ending a local session: {}", ended.error().message);
      session_id_ = 0;
    }
    // The heart beats until the session is ended.
    stop_heartbeat_ = true;
    shared_.liveness->announce_change();
    heartbeat_thread_.join();
  });
}

Result<std::unique_ptr<LocalCoordinator>> LocalCoordinator::open(LocalOptions options) {
  using namespace std::chrono_literals;
  if (options.session_timeout < 100ms || options.session_timeout > 60s)
    return fail(Errc::bad_argument, "session time-out outside 100 ms to 60 s");
  auto store =
      LocalStore::open({options.folder, options.session_timeout, LocalStore::current_boot_id()});
  if (!store) return tl::unexpected<Error>(std::move(store.error()));
  auto session = (*store)->open_session(after(10s));
  if (!session) return tl::unexpected<Error>(std::move(session.error()));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(*store), *session);
  return std::unique_ptr<LocalCoordinator>(new LocalCoordinator(std::move(impl)));
}

LocalCoordinator::LocalCoordinator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LocalCoordinator::~LocalCoordinator() {
  impl_->close();
}

SessionId LocalCoordinator::session_id() const {
  return impl_->session_id();
}
bool LocalCoordinator::connected() const {
  return impl_->connected();
}
bool LocalCoordinator::on_callback_thread() const {
  return impl_->on_callback_thread();
}
void LocalCoordinator::close() {
  impl_->close();
}
void LocalCoordinator::run_at(Deadline time, std::function<void()> task) {
  impl_->run_at(time, std::move(task));
}
void LocalCoordinator::post(std::function<void()> task) {
  impl_->post(std::move(task));
}

void LocalCoordinator::start_write(std::vector<WriteOp> ops, Deadline deadline,
                                   Callback<std::vector<Stat>> done, WriteOn where) {
  Impl::Write write{std::move(ops), deadline, std::move(done)};
  if (where == WriteOn::calling_thread && impl_->write_here(write)) return;
  impl_->submit(std::move(write));
}
void LocalCoordinator::start_get(std::string path, Deadline deadline, Callback<Record> done,
                                 Watcher watcher) {
  impl_->submit(Impl::Get{std::move(path), deadline, std::move(done), std::move(watcher)});
}
void LocalCoordinator::start_list(std::string path, Deadline deadline, Callback<Children> done,
                                  Watcher watcher) {
  impl_->submit(Impl::List{std::move(path), deadline, std::move(done), std::move(watcher)});
}

}  // namespace godwit::coord
