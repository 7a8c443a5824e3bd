// Directory: the records of DCs, and the slots that agents take from them.
#include "directory_impl.h"
#include "unix_time.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace godwit::coord {
namespace {

using Impl = Directory::Impl;

// The folders of a DC below its own record, parents first.
std::vector<std::string> folders_of(const Impl& impl, const std::string& dc) {
  std::vector<std::string> folders = {impl.paths.groups(dc)};
  for (const std::string& folder : {impl.paths.names(dc), impl.paths.endpoints(dc)}) {
    folders.push_back(folder);
    for (std::string& bucket : impl.bucket_paths(folder)) folders.push_back(std::move(bucket));
  }
  return folders;
}

Flow create_flow(std::shared_ptr<Impl> self, DcRequest request, Deadline deadline,
                 Callback<DcEntry> done) {
  const std::string counter_path = self->paths.dc_counter();
  for (;;) {
    const auto stored = co_await self->get(counter_path, deadline);
    if (!stored) {
      answer(done, stored.error());
      co_return;
    }
    auto counter = unpack<proto::DcCounterRecord>(counter_path, *stored);
    if (!counter) {
      answer(done, counter.error());
      co_return;
    }
    const std::uint32_t id = counter->record.last_id() + 1;
    if (id == 0) {
      answer(done, {Errc::limit_exceeded, "all DC ids were given out"});
      co_return;
    }
    proto::DcRecord record;
    record.set_schema(kDirectorySchema);
    record.set_id(id);
    record.set_name(request.name);
    for (const std::string& node : request.nodes) record.add_nodes(node);
    *record.mutable_limits() = request.limits;
    record.set_key_id(request.key_id);
    record.set_created_unix_ms(unix_ms());
    counter->record.set_last_id(id);

    // One multi: the id is taken if and only if the DC is made, and it is never seen
    // without its folders.
    std::vector<WriteOp> ops;
    ops.push_back(CreateOp{self->paths.dc(request.name), pack(record), CreateMode::persistent});
    ops.push_back(SetOp{counter_path, pack(counter->record), counter->stat});
    ops.push_back(CreateOp{self->paths.slots(request.name), pack(proto::SlotCounterRecord()),
                           CreateMode::persistent});
    for (std::string& folder : folders_of(*self, request.name))
      ops.push_back(CreateOp{std::move(folder), "", CreateMode::persistent});
    const auto made = co_await self->multi(std::move(ops), deadline);
    if (made) {
      done(DcEntry{std::move(record), made->front()});
      co_return;
    }
    // Another DC was made meanwhile.
    if (made.error().code == Errc::bad_version && made.error().failed_op == 1) continue;
    if (made.error().code == Errc::node_exists) {
      answer(done, {Errc::dc_exists, "DC '" + request.name + "' exists"});
    } else {
      answer(done, made.error());
    }
    co_return;
  }
}

bool is_live(const EndpointEntry& endpoint) {
  return endpoint.record.state() == proto::SERVING || endpoint.record.state() == proto::MOVING;
}

// Removes records, many at a time; what another removed first is fine.
Step<void> remove_all(std::shared_ptr<Impl> self, std::vector<std::string> paths,
                      Deadline deadline) {
  struct State {
    std::size_t left = 0;
    std::optional<Error> error;
  };
  return Step<void>([self, paths = std::move(paths), deadline](Callback<void> next) {
    if (paths.empty()) return next({});
    auto state = std::make_shared<State>();
    state->left = paths.size();
    for (const std::string& path : paths) {
      self->coordinator.remove(path, Expected::any(), deadline,
                               [state, next](Result<void> removed) {
                                 if (!removed && removed.error().code != Errc::no_node)
                                   state->error = std::move(removed.error());
                                 if (--state->left > 0) return;
                                 if (state->error) return answer(next, *state->error);
                                 next({});
                               });
    }
  });
}

// In three stages, so that nothing can be bound in a DC that goes: the mark (binds
// check the DC's record at the version they know), a last look, the removal.
Flow remove_flow(std::shared_ptr<Impl> self, std::string name, Deadline deadline,
                 Callback<void> done) {
  const std::string path = self->paths.dc(name);
  const auto stored = co_await self->get(path, deadline);
  if (!stored) {
    const bool unknown = stored.error().code == Errc::no_node;
    answer(done, unknown ? Error{Errc::dc_unknown, "no DC '" + name + "'"} : stored.error());
    co_return;
  }
  auto entry = unpack<proto::DcRecord>(path, *stored);
  if (!entry) {
    answer(done, entry.error());
    co_return;
  }
  for (const bool marked : {false, true}) {
    if (marked && !entry->record.removing()) {
      entry->record.set_removing(true);
      const auto set = co_await self->set(path, pack(entry->record), entry->stat, deadline);
      if (!set) {
        answer(done, set.error());
        co_return;
      }
      entry->stat = *set;
    }
    const auto found =
        co_await self->list_all(self->bucket_paths(self->paths.endpoints(name)), deadline);
    if (!found) {
      answer(done, found.error());
      co_return;
    }
    const auto endpoints = co_await self->get_all<proto::EndpointRecord>(*found, deadline);
    if (!endpoints) {
      answer(done, endpoints.error());
      co_return;
    }
    const auto live = std::count_if(endpoints->begin(), endpoints->end(), is_live);
    if (live > 0) {
      if (entry->record.removing()) {
        entry->record.set_removing(false);
        const auto unmarked = co_await self->set(path, pack(entry->record), entry->stat, deadline);
        if (!unmarked) {
          answer(done, unmarked.error());
          co_return;
        }
      }
      answer(done, {Errc::dc_in_use,
                    "DC '" + name + "' has " + std::to_string(live) + " bound endpoints"});
      co_return;
    }
    if (!marked) continue;

    auto names = co_await self->list_all(self->bucket_paths(self->paths.names(name)), deadline);
    if (!names) {
      answer(done, names.error());
      co_return;
    }
    std::vector<std::string> records = std::move(*names);
    records.insert(records.end(), found->begin(), found->end());
    constexpr std::size_t kRemovesAtOnce = 4096;
    for (std::size_t first = 0; first < records.size(); first += kRemovesAtOnce) {
      const std::size_t last = std::min(first + kRemovesAtOnce, records.size());
      std::vector<std::string> some(records.begin() + static_cast<std::ptrdiff_t>(first),
                                    records.begin() + static_cast<std::ptrdiff_t>(last));
      const auto removed = co_await remove_all(self, std::move(some), deadline);
      if (!removed) {
        answer(done, removed.error());
        co_return;
      }
    }
  }
  std::vector<std::string> folders = folders_of(*self, name);
  std::vector<WriteOp> ops;
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder)
    ops.push_back(RemoveOp{*folder, Expected::any()});
  ops.push_back(RemoveOp{self->paths.slots(name), Expected::any()});
  ops.push_back(RemoveOp{path, entry->stat});
  const auto removed = co_await self->multi(std::move(ops), deadline);
  self->dcs[name].entry.reset();
  self->dcs[name].free.clear();
  if (!removed) {
    answer(done, removed.error());
    co_return;
  }
  done({});
}

Flow list_flow(std::shared_ptr<Impl> self, Deadline deadline, Callback<std::vector<DcEntry>> done,
               Watcher watcher) {
  const std::string folder = self->paths.dcs();
  const auto children = co_await self->list(folder, deadline, std::move(watcher));
  if (!children) {
    answer(done, children.error());
    co_return;
  }
  std::vector<std::string> all;
  for (const std::string& name : children->names) all.push_back(folder + "/" + name);
  auto entries = co_await self->get_all<proto::DcRecord>(std::move(all), deadline);
  done(std::move(entries));
}

}  // namespace

Flow reserve_slots_flow(std::shared_ptr<Directory::Impl> self, std::string dc, std::uint32_t count,
                        Deadline deadline, Callback<SlotRange> done) {
  co_await self->on_thread();
  const auto entry = co_await self->dc_to_bind_in(dc, deadline);
  if (!entry) {
    answer(done, entry.error());
    co_return;
  }
  const std::uint32_t limit = entry->record.limits().max_endpoints() != 0
                                  ? entry->record.limits().max_endpoints()
                                  : std::numeric_limits<std::uint32_t>::max();
  const std::string path = self->paths.slots(dc);
  for (;;) {
    const auto stored = co_await self->get(path, deadline);
    if (!stored) {
      const bool unknown = stored.error().code == Errc::no_node;
      answer(done, unknown ? Error{Errc::dc_unknown, "no DC '" + dc + "'"} : stored.error());
      co_return;
    }
    auto counter = unpack<proto::SlotCounterRecord>(path, *stored);
    if (!counter) {
      answer(done, counter.error());
      co_return;
    }
    const std::uint32_t first = counter->record.next_slot();
    const SlotRange range{first, std::min(count, limit - std::min(limit, first))};
    if (range.count == 0) {
      answer(done, {Errc::limit_exceeded,
                    "DC '" + dc + "' has given out all its " + std::to_string(limit) + " slots"});
      co_return;
    }
    counter->record.set_next_slot(first + range.count);
    const auto set = co_await self->set(path, pack(counter->record), counter->stat, deadline);
    if (set) {
      done(range);
      co_return;
    }
    if (set.error().code != Errc::bad_version) {
      answer(done, set.error());
      co_return;
    }
  }
}

void Directory::create_dc(DcRequest request, Deadline deadline, Callback<DcEntry> done) {
  auto valid = validate_name("DC name", request.name);
  for (const std::string& node : request.nodes)
    if (valid) valid = validate_name("node name", node);
  if (!valid) return refuse(std::move(valid.error()), std::move(done));
  create_flow(impl_, std::move(request), deadline, std::move(done));
}

void Directory::remove_dc(std::string name, Deadline deadline, Callback<void> done) {
  if (auto valid = validate_name("DC name", name); !valid)
    return refuse(std::move(valid.error()), std::move(done));
  remove_flow(impl_, std::move(name), deadline, std::move(done));
}

void Directory::get_dc(std::string name, Deadline deadline, Callback<DcEntry> done,
                       Watcher watcher) {
  if (auto valid = validate_name("DC name", name); !valid)
    return refuse(std::move(valid.error()), std::move(done));
  const std::string path = impl_->paths.dc(name);
  impl_->coordinator.get(
      path, deadline,
      [path, name, done = std::move(done)](Result<Record> stored) {
        if (stored) return done(unpack<proto::DcRecord>(path, *stored));
        if (stored.error().code == Errc::no_node)
          stored = fail(Errc::dc_unknown, "no DC '" + name + "'");
        answer(done, std::move(stored.error()));
      },
      std::move(watcher));
}

void Directory::list_dcs(Deadline deadline, Callback<std::vector<DcEntry>> done, Watcher watcher) {
  list_flow(impl_, deadline, std::move(done), std::move(watcher));
}

void Directory::reserve_slots(std::string dc, std::uint32_t count, Deadline deadline,
                              Callback<SlotRange> done) {
  auto valid = validate_name("DC name", dc);
  if (valid && count == 0) valid = fail(Errc::bad_argument, "no slots to reserve");
  if (!valid) return refuse(std::move(valid.error()), std::move(done));
  reserve_slots_flow(impl_, std::move(dc), count, deadline, std::move(done));
}

}  // namespace godwit::coord
