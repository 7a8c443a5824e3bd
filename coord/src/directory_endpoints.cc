// Directory: endpoints after their bind: state changes, look-ups, lists.
#include "directory_impl.h"

#include <utility>

namespace godwit::coord {
namespace {

using Impl = Directory::Impl;

struct Target {
  std::string dc;
  std::uint32_t slot;
  std::uint32_t generation;
  std::uint64_t process;  // 0: whichever
};

Error stale(const Target& target, const std::string& why) {
  return {Errc::endpoint_stale, "slot " + std::to_string(target.slot) + " generation " +
                                    std::to_string(target.generation) + " of DC '" + target.dc +
                                    "': " + why};
}

// no_node of something in a DC becomes dc_unknown, or `otherwise` if the DC exists.
Flow explain_absence(std::shared_ptr<Impl> self, std::string dc, Deadline deadline, Error otherwise,
                     Callback<EndpointEntry> done) {
  const auto exists = co_await self->dc_exists(dc, deadline);
  if (!exists) {
    answer(done, exists.error());
  } else if (!*exists) {
    answer(done, {Errc::dc_unknown, "no DC '" + dc + "'"});
  } else {
    answer(done, std::move(otherwise));
  }
}

// The endpoint as it is now, if it is still the one meant.
Flow read_target(std::shared_ptr<Impl> self, Target target, Deadline deadline,
                 Callback<EndpointEntry> done) {
  const std::string path = self->paths.endpoint(target.dc, target.slot);
  const auto stored = co_await self->get(path, deadline);
  if (!stored && stored.error().code == Errc::no_node) {
    explain_absence(self, target.dc, deadline, stale(target, "never bound"), std::move(done));
    co_return;
  }
  if (!stored) {
    answer(done, stored.error());
    co_return;
  }
  auto entry = unpack<proto::EndpointRecord>(path, *stored);
  if (entry && entry->record.generation() != target.generation)
    entry = tl::unexpected<Error>(
        stale(target, "now of generation " + std::to_string(entry->record.generation())));
  if (entry && target.process != 0 && entry->record.owner().process() != target.process)
    entry = tl::unexpected<Error>(stale(target, "owned by another process"));
  done(std::move(entry));
}

Step<EndpointEntry> read(std::shared_ptr<Impl> self, Target target, Deadline deadline) {
  return Step<EndpointEntry>(
      [=](Callback<EndpointEntry> next) { read_target(self, target, deadline, std::move(next)); });
}

Flow unbind_flow(std::shared_ptr<Impl> self, Target target, Deadline deadline,
                 Callback<void> done) {
  co_await self->on_thread();
  bool has_name = true;
  for (;;) {
    auto entry = co_await read(self, target, deadline);
    if (!entry) {
      answer(done, entry.error());
      co_return;
    }
    const proto::EndpointState state = entry->record.state();
    if (state == proto::UNBOUND) {
      done({});
      co_return;
    }
    // Only COMMIT, ABORT or DEAD may follow MOVING.
    if (state == proto::MOVING) {
      answer(done, stale(target, "it is being moved"));
      co_return;
    }
    entry->record.set_state(proto::UNBOUND);
    entry->record.clear_engine_address();
    entry->record.clear_migration();
    const std::string& name = entry->record.name();
    std::vector<WriteOp> ops;
    ops.push_back(
        SetOp{self->paths.endpoint(target.dc, target.slot), pack(entry->record), entry->stat});
    // Of any version: a name changes hands only together with its endpoint's record,
    // and that is expected as read.
    if (has_name && !name.empty())
      ops.push_back(RemoveOp{self->paths.name(target.dc, name), Expected::any()});
    const auto written = co_await self->multi(std::move(ops), deadline);
    if (written) {
      entry->stat = written->front();
      self->give_back(target.dc, {target.slot, std::move(*entry)});
      done({});
      co_return;
    }
    const Error& error = written.error();
    if (error.code == Errc::no_node && error.failed_op == 1) {
      has_name = false;  // gone already; the endpoint is what counts
    } else if (error.code != Errc::bad_version) {
      answer(done, error);
      co_return;
    }
  }
}

Flow mark_dead_flow(std::shared_ptr<Impl> self, Target target, Deadline deadline,
                    Callback<void> done) {
  const std::string path = self->paths.endpoint(target.dc, target.slot);
  for (;;) {
    auto entry = co_await read(self, target, deadline);
    if (!entry) {
      answer(done, entry.error());
      co_return;
    }
    const proto::EndpointState state = entry->record.state();
    if (state == proto::DEAD || state == proto::UNBOUND) {
      done({});
      co_return;
    }
    entry->record.set_state(proto::DEAD);
    entry->record.clear_migration();
    const auto set = co_await self->set(path, pack(entry->record), entry->stat, deadline);
    if (set) {
      done({});
      co_return;
    }
    if (set.error().code != Errc::bad_version) {
      answer(done, set.error());
      co_return;
    }
  }
}

Flow resolve_flow(std::shared_ptr<Impl> self, std::string dc, std::string name, Deadline deadline,
                  Callback<EndpointEntry> done, Watcher watcher) {
  Watcher once;
  if (watcher) {
    auto pending = std::make_shared<Watcher>(std::move(watcher));
    once = [pending] {
      if (auto call = std::exchange(*pending, nullptr)) call();
    };
  }
  const std::string name_path = self->paths.name(dc, name);
  const Error unknown{Errc::name_unknown, "no endpoint '" + name + "' in DC '" + dc + "'"};
  // The two records are read one after the other; a bind or unbind between them is
  // seen as a mismatch and read again.
  constexpr int kTries = 16;
  for (int i = 0; i < kTries; ++i) {
    const auto stored_name = co_await self->get(name_path, deadline, once);
    if (!stored_name && stored_name.error().code == Errc::no_node) {
      explain_absence(self, dc, deadline, unknown, std::move(done));
      co_return;
    }
    if (!stored_name) {
      answer(done, stored_name.error());
      co_return;
    }
    const auto record = unpack<proto::NameRecord>(name_path, *stored_name);
    if (!record) {
      answer(done, record.error());
      co_return;
    }
    const std::string path = self->paths.endpoint(dc, record->record.slot());
    const auto stored = co_await self->get(path, deadline, once);
    if (!stored && stored.error().code != Errc::no_node) {
      answer(done, stored.error());
      co_return;
    }
    if (!stored) continue;
    auto entry = unpack<proto::EndpointRecord>(path, *stored);
    const bool matches = !entry || (entry->record.generation() == record->record.generation() &&
                                    entry->record.state() != proto::UNBOUND);
    if (matches) {
      done(std::move(entry));
      co_return;
    }
  }
  answer(done, {Errc::corrupt, name_path + " does not agree with its endpoint's record"});
}

Flow get_flow(std::shared_ptr<Impl> self, std::string dc, std::uint32_t slot, Deadline deadline,
              Callback<EndpointEntry> done, Watcher watcher) {
  const std::string path = self->paths.endpoint(dc, slot);
  const auto stored = co_await self->get(path, deadline, std::move(watcher));
  if (stored) {
    done(unpack<proto::EndpointRecord>(path, *stored));
  } else if (stored.error().code == Errc::no_node) {
    explain_absence(self, dc, deadline, stale({dc, slot, 0, 0}, "never bound"), std::move(done));
  } else {
    answer(done, stored.error());
  }
}

template <typename T>
Flow list_flow(std::shared_ptr<Impl> self, std::string dc, std::string folder, Deadline deadline,
               Callback<std::vector<Entry<T>>> done) {
  auto found = co_await self->list_all(self->bucket_paths(folder), deadline);
  if (!found) {
    answer(done, found.error());
    co_return;
  }
  if (found->empty()) {
    const auto exists = co_await self->dc_exists(dc, deadline);
    if (!exists || !*exists) {
      answer(done, exists ? Error{Errc::dc_unknown, "no DC '" + dc + "'"} : exists.error());
      co_return;
    }
  }
  auto entries = co_await self->get_all<T>(std::move(*found), deadline);
  done(std::move(entries));
}

}  // namespace

void Directory::unbind(std::string dc, std::uint32_t slot, std::uint32_t generation,
                       std::uint64_t process, Deadline deadline, Callback<void> done) {
  if (auto valid = validate_name("DC name", dc); !valid)
    return refuse(std::move(valid.error()), std::move(done));
  unbind_flow(impl_, Target{std::move(dc), slot, generation, process}, deadline, std::move(done));
}

void Directory::mark_dead(std::string dc, std::uint32_t slot, std::uint32_t generation,
                          std::uint64_t process, Deadline deadline, Callback<void> done) {
  if (auto valid = validate_name("DC name", dc); !valid)
    return refuse(std::move(valid.error()), std::move(done));
  mark_dead_flow(impl_, Target{std::move(dc), slot, generation, process}, deadline,
                 std::move(done));
}

void Directory::update_endpoint(std::string dc, EndpointEntry entry, std::optional<NodeFence> fence,
                                Deadline deadline, Callback<EndpointEntry> done) {
  auto valid = validate_name("DC name", dc);
  if (valid && fence) valid = validate_name("node name", fence->node);
  if (!valid) return refuse(std::move(valid.error()), std::move(done));
  std::vector<WriteOp> ops;
  if (fence)
    ops.push_back(
        CheckOp{impl_->paths.incarnation(fence->node, fence->incarnation), Expected::any()});
  ops.push_back(
      SetOp{impl_->paths.endpoint(dc, entry.record.slot()), pack(entry.record), entry.stat});
  impl_->coordinator.multi(
      std::move(ops), deadline,
      [entry = std::move(entry), done = std::move(done)](Result<std::vector<Stat>> written) {
        if (!written) return answer(done, std::move(written.error()));
        done(EndpointEntry{entry.record, written->back()});
      });
}

void Directory::resolve(std::string dc, std::string name, Deadline deadline,
                        Callback<EndpointEntry> done, Watcher watcher) {
  auto valid = validate_name("DC name", dc);
  if (valid) valid = validate_name("endpoint name", name);
  if (!valid) return refuse(std::move(valid.error()), std::move(done));
  resolve_flow(impl_, std::move(dc), std::move(name), deadline, std::move(done),
               std::move(watcher));
}

void Directory::get_endpoint(std::string dc, std::uint32_t slot, Deadline deadline,
                             Callback<EndpointEntry> done, Watcher watcher) {
  if (auto valid = validate_name("DC name", dc); !valid)
    return refuse(std::move(valid.error()), std::move(done));
  get_flow(impl_, std::move(dc), slot, deadline, std::move(done), std::move(watcher));
}

void Directory::list_endpoints(std::string dc, Deadline deadline,
                               Callback<std::vector<EndpointEntry>> done) {
  if (auto valid = validate_name("DC name", dc); !valid)
    return refuse(std::move(valid.error()), std::move(done));
  const std::string folder = impl_->paths.endpoints(dc);
  list_flow<proto::EndpointRecord>(impl_, std::move(dc), folder, deadline, std::move(done));
}

void Directory::list_names(std::string dc, Deadline deadline,
                           Callback<std::vector<NameEntry>> done) {
  if (auto valid = validate_name("DC name", dc); !valid)
    return refuse(std::move(valid.error()), std::move(done));
  const std::string folder = impl_->paths.names(dc);
  list_flow<proto::NameRecord>(impl_, std::move(dc), folder, deadline, std::move(done));
}

}  // namespace godwit::coord
