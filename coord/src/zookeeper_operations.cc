// ZooKeeperCoordinator::Impl: its operations, from submission to answer.
#include "random.h"
#include "record_envelope.h"
#include "zookeeper_impl.h"

#include <zookeeper/zookeeper.h>

#include <utility>

namespace godwit::coord {
namespace {

// Requests in flight at once: enough to fill the server's pipeline (its own limit is
// 1000), few enough that a lost connection leaves little to settle.
constexpr std::size_t kWindow = 1000;

std::uint64_t fresh_nonce() {
  // One kernel call a process, then a bijection of a counter (splitmix64), so that two
  // nonces of a process never collide and those of two processes hardly ever.
  static const std::uint64_t base = random_u64();
  static std::atomic<std::uint64_t> count{0};
  std::uint64_t z = base + 0x9e3779b97f4a7c15U * ++count;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

template <typename T>
void answer(const Callback<T>& done, Error error) {
  done(tl::unexpected<Error>(std::move(error)));
}

}  // namespace

void ZooKeeperCoordinator::Impl::write(std::vector<WriteOp> ops, Deadline deadline,
                                       Callback<std::vector<Stat>> done) {
  submit(Write{SettledWrite(std::move(ops), fresh_nonce()), SettledWrite::Step::issue, 0,
               std::move(done)},
         deadline);
}

void ZooKeeperCoordinator::Impl::get(std::string path, Deadline deadline, Callback<Record> done,
                                     Watcher watcher) {
  post([this, path = std::move(path), deadline, done = std::move(done),
        watcher = std::move(watcher)]() mutable {
    const std::uint64_t watch = watcher && !closing_ ? add_watch(std::move(watcher)) : 0;
    start(Get{std::move(path), false, watch, std::move(done)}, deadline);
  });
}

void ZooKeeperCoordinator::Impl::list(std::string path, Deadline deadline, Callback<Children> done,
                                      Watcher watcher) {
  post([this, path = std::move(path), deadline, done = std::move(done),
        watcher = std::move(watcher)]() mutable {
    const std::uint64_t watch = watcher && !closing_ ? add_watch(std::move(watcher)) : 0;
    start(List{std::move(path), false, watch, std::move(done)}, deadline);
  });
}

void ZooKeeperCoordinator::Impl::submit(std::variant<Write, Get, List> kind, Deadline deadline) {
  // A task must be copyable; what it carries here is not copied.
  auto carried = std::make_shared<std::variant<Write, Get, List>>(std::move(kind));
  post([this, carried, deadline] { start(std::move(*carried), deadline); });
}

void ZooKeeperCoordinator::Impl::start(std::variant<Write, Get, List> kind, Deadline deadline) {
  // Checked before any state is touched: after close() this runs in callers' threads.
  if (closing_) {
    std::visit(
        [](const auto& any) {
          answer(any.done, Error{Errc::closed, "the coordinator is closed"});
        },
        kind);
    return;
  }
  const OperationId id = next_operation_++;
  Operation& operation =
      operations_.emplace(id, Operation{{}, false, std::move(kind)}).first->second;
  if (auth_failed_) return give_up(id, Errc::auth_failed, "ZooKeeper refused the credentials");
  if (operations_.size() > kMaxOutstanding)
    return give_up(id, Errc::overloaded, "too many operations are pending");
  if (deadline <= std::chrono::steady_clock::now())
    return give_up(id, Errc::unavailable, "the deadline had passed before it was sent");
  operation.timer = thread_.at(deadline, [this, id] {
    give_up(id, Errc::unavailable, "ZooKeeper was not reached before the deadline");
  });
  ready_.insert(id);
  pump();
}

void ZooKeeperCoordinator::Impl::pump() {
  while (connected_ && in_flight_ < kWindow && !ready_.empty()) {
    const OperationId id = *ready_.begin();
    ready_.erase(ready_.begin());
    Operation& operation = operations_.at(id);
    // Not accepted: the handle is about to say why, and what is ready waits for that.
    if (!send(id, operation)) {
      if (operations_.count(id) != 0) ready_.insert(id);
      return;
    }
  }
}

bool ZooKeeperCoordinator::Impl::send(OperationId id, Operation& operation) {
  bool sent = false;
  if (auto* write = std::get_if<Write>(&operation.kind)) {
    // Lost in a session that has ended since: that changes what may be done.
    if (write->settled.was_issued() && write->session != session_count_) {
      const auto step = write->settled.lost(/*session_ended=*/true);
      write->session = session_count_;
      if (step == SettledWrite::Step::finished) {
        advance(id, *write, step);
        return true;
      }
      write->step = step;
    }
    sent = send_write(id, *write);
  } else if (auto* get = std::get_if<Get>(&operation.kind)) {
    sent = send_get(id, *get);
  } else {
    sent = send_list(id, std::get<List>(operation.kind));
  }
  if (sent) {
    operation.in_flight = true;
    ++in_flight_;
  }
  return sent;
}

bool ZooKeeperCoordinator::Impl::send_write(OperationId id, Write& write) {
  const std::uint64_t session = session_count_;
  if (write.step == SettledWrite::Step::verify) {
    const std::string path = prefixed_path(prefix_, write.settled.witness());
    // Its answer is not needed: requests of a session are answered in order, and if it
    // is lost so is the one behind it.
    if (!handle_->sync(path, [](int) {})) return false;
    return handle_->get(path, 0, [this, id, session](int rc, Record record) {
      post([this, id, session, rc, record = std::move(record)]() mutable {
        on_witness(id, session, rc, std::move(record));
      });
    });
  }
  const bool sent = handle_->write(
      prefix_, write.settled.ops(),
      [this, id, session](int rc, int failed_op, std::vector<std::int32_t> versions) {
        post([this, id, session, rc, failed_op, versions = std::move(versions)]() mutable {
          on_write_answer(id, session, rc, failed_op, std::move(versions));
        });
      });
  if (sent) {
    write.settled.issued();
    write.session = session;
  }
  return sent;
}

bool ZooKeeperCoordinator::Impl::send_get(OperationId id, Get& get) {
  const std::uint64_t session = session_count_;
  const std::string path = prefixed_path(prefix_, get.path);
  if (get.arming)
    return handle_->exists(path, get.watch, [this, id, session](int rc) {
      post([this, id, session, rc] { on_armed<Get>(id, session, rc); });
    });
  return handle_->get(path, get.watch, [this, id, session](int rc, Record record) {
    post([this, id, session, rc, record = std::move(record)]() mutable {
      on_get_answer(id, session, rc, std::move(record));
    });
  });
}

bool ZooKeeperCoordinator::Impl::send_list(OperationId id, List& list) {
  const std::uint64_t session = session_count_;
  const std::string path = prefixed_path(prefix_, list.path);
  if (list.arming)
    return handle_->exists(path, list.watch, [this, id, session](int rc) {
      post([this, id, session, rc] { on_armed<List>(id, session, rc); });
    });
  return handle_->list(path, list.watch, [this, id, session](int rc, Children children) {
    post([this, id, session, rc, children = std::move(children)]() mutable {
      on_list_answer(id, session, rc, std::move(children));
    });
  });
}

ZooKeeperCoordinator::Impl::Operation* ZooKeeperCoordinator::Impl::landed(OperationId id,
                                                                          std::uint64_t session) {
  // The count was set to 0 when the session of an older answer ended.
  if (session == session_count_) --in_flight_;
  const auto found = operations_.find(id);
  if (found == operations_.end()) return nullptr;
  found->second.in_flight = false;
  return &found->second;
}

void ZooKeeperCoordinator::Impl::advance(OperationId id, Write& write, SettledWrite::Step step) {
  if (step != SettledWrite::Step::finished) {
    write.step = step;
    ready_.insert(id);
    return;
  }
  auto result = write.settled.take_result();
  const Operation finished = take(id);
  std::get<Write>(finished.kind).done(std::move(result));
}

void ZooKeeperCoordinator::Impl::on_write_answer(OperationId id, std::uint64_t session, int rc,
                                                 int failed_op,
                                                 std::vector<std::int32_t> versions) {
  if (Operation* operation = landed(id, session)) {
    auto& write = std::get<Write>(operation->kind);
    SettledWrite& settled = write.settled;
    switch (kind_of(rc)) {
      case AnswerKind::ok:
        advance(id, write, settled.answered(std::move(versions), session_id_));
        break;
      case AnswerKind::refused: {
        const std::size_t index = failed_op < 0 ? 0 : static_cast<std::size_t>(failed_op);
        const std::string path =
            std::visit([](const auto& op) { return op.path; }, settled.ops()[index]);
        advance(
            id, write,
            settled.answered(tl::unexpected<Error>(error_of(rc, path, failed_op)), session_id_));
        break;
      }
      case AnswerKind::lost: {
        const bool ended = session != session_count_ || rc == ZSESSIONEXPIRED;
        // Else send() would report the same end once more.
        if (session != session_count_) write.session = session_count_;
        advance(id, write, settled.lost(ended));
        break;
      }
    }
  }
  pump();
}

void ZooKeeperCoordinator::Impl::on_witness(OperationId id, std::uint64_t session, int rc,
                                            Record record) {
  if (Operation* operation = landed(id, session)) {
    auto& write = std::get<Write>(operation->kind);
    if (kind_of(rc) == AnswerKind::lost) {
      advance(id, write, write.settled.lost(session != session_count_));
    } else if (rc != ZOK) {
      advance(
          id, write,
          write.settled.witnessed(tl::unexpected<Error>(error_of(rc, write.settled.witness()))));
    } else if (auto unwrapped = unwrap_record(write.settled.witness(), record.data)) {
      record.stat.trail = unwrapped->trail;
      record.data = std::move(unwrapped->data);
      advance(id, write, write.settled.witnessed(std::move(record)));
    } else {
      advance(id, write, write.settled.witnessed(tl::unexpected<Error>(unwrapped.error())));
    }
  }
  pump();
}

// A read that has no record to give: lost, refused, or absent with a watch to arm.
template <typename Read>
void ZooKeeperCoordinator::Impl::finish_read_without(OperationId id, int rc) {
  auto& read = std::get<Read>(operations_.at(id).kind);
  if (kind_of(rc) == AnswerKind::lost) {
    read.arming = false;
    ready_.insert(id);
    return;
  }
  if (rc == ZNONODE && read.watch != 0 && !read.arming) {
    read.arming = true;
    ready_.insert(id);
    return;
  }
  const Operation operation = take(id);
  const auto& finished = std::get<Read>(operation.kind);
  if (rc != ZNONODE) watches_.erase(finished.watch);
  answer(finished.done, error_of(rc, finished.path));
}

template <typename Read>
void ZooKeeperCoordinator::Impl::on_armed(OperationId id, std::uint64_t session, int rc) {
  if (Operation* operation = landed(id, session)) {
    if (rc == ZOK) {
      // Created between the two requests: read it now.
      std::get<Read>(operation->kind).arming = false;
      ready_.insert(id);
    } else {
      finish_read_without<Read>(id, rc);
    }
  }
  pump();
}

void ZooKeeperCoordinator::Impl::on_get_answer(OperationId id, std::uint64_t session, int rc,
                                               Record record) {
  if (landed(id, session) != nullptr) {
    if (rc != ZOK) {
      finish_read_without<Get>(id, rc);
    } else {
      const Operation operation = take(id);
      const auto& get = std::get<Get>(operation.kind);
      if (auto unwrapped = unwrap_record(get.path, record.data)) {
        record.stat.trail = unwrapped->trail;
        record.data = std::move(unwrapped->data);
        get.done(std::move(record));
      } else {
        watches_.erase(get.watch);
        answer(get.done, std::move(unwrapped.error()));
      }
    }
  }
  pump();
}

void ZooKeeperCoordinator::Impl::on_list_answer(OperationId id, std::uint64_t session, int rc,
                                                Children children) {
  if (landed(id, session) != nullptr) {
    if (rc != ZOK) {
      finish_read_without<List>(id, rc);
    } else {
      const Operation operation = take(id);
      std::get<List>(operation.kind).done(std::move(children));
    }
  }
  pump();
}

ZooKeeperCoordinator::Impl::Operation ZooKeeperCoordinator::Impl::take(OperationId id) {
  auto node = operations_.extract(id);
  ready_.erase(id);
  thread_.cancel(node.mapped().timer);
  return std::move(node.mapped());
}

void ZooKeeperCoordinator::Impl::give_up(OperationId id, Errc unsent, const char* why) {
  const Operation operation = take(id);
  if (const auto* write = std::get_if<Write>(&operation.kind)) {
    if (write->settled.was_issued())
      return answer(write->done, Error{Errc::deadline, "sent, but its outcome is unknown"});
    return answer(write->done, Error{unsent, why});
  }
  const bool late = operation.in_flight && unsent == Errc::unavailable;
  const Error error{late ? Errc::deadline : unsent, late ? "no answer before the deadline" : why};
  if (const auto* get = std::get_if<Get>(&operation.kind)) {
    watches_.erase(get->watch);
    answer(get->done, error);
  } else {
    const auto& list = std::get<List>(operation.kind);
    watches_.erase(list.watch);
    answer(list.done, error);
  }
}

void ZooKeeperCoordinator::Impl::give_up_all(Errc unsent, const char* why) {
  // A callback may submit again; that is answered at once, so this ends.
  while (!operations_.empty()) give_up(operations_.begin()->first, unsent, why);
}

}  // namespace godwit::coord
