// Directory::Impl: the steps and helpers that its flows share.
#include "directory_impl.h"

#include <algorithm>

namespace godwit::coord {

Step<bool> Directory::Impl::on_thread() {
  return Step<bool>([this](Callback<bool> next) {
    coordinator.run_at(Deadline{}, [next = std::move(next)] { next(true); });
  });
}

Step<Record> Directory::Impl::get(std::string path, Deadline deadline, Watcher watcher) {
  return Step<Record>([this, path = std::move(path), deadline,
                       watcher = std::move(watcher)](Callback<Record> next) {
    coordinator.get(path, deadline, std::move(next), watcher);
  });
}

Step<Children> Directory::Impl::list(std::string path, Deadline deadline, Watcher watcher) {
  return Step<Children>([this, path = std::move(path), deadline,
                         watcher = std::move(watcher)](Callback<Children> next) {
    coordinator.list(path, deadline, std::move(next), watcher);
  });
}

Step<Stat> Directory::Impl::create(std::string path, std::string data, CreateMode mode,
                                   Deadline deadline) {
  return Step<Stat>(
      [this, path = std::move(path), data = std::move(data), mode, deadline](Callback<Stat> next) {
        coordinator.create(path, data, mode, deadline, std::move(next));
      });
}

Step<Stat> Directory::Impl::set(std::string path, std::string data, Expected expected,
                                Deadline deadline) {
  return Step<Stat>([this, path = std::move(path), data = std::move(data), expected,
                     deadline](Callback<Stat> next) {
    coordinator.set(path, data, expected, deadline, std::move(next));
  });
}

Step<void> Directory::Impl::remove(std::string path, Expected expected, Deadline deadline) {
  return Step<void>([this, path = std::move(path), expected, deadline](Callback<void> next) {
    coordinator.remove(path, expected, deadline, std::move(next));
  });
}

Step<std::vector<Stat>> Directory::Impl::multi(std::vector<WriteOp> ops, Deadline deadline,
                                               WriteOn where) {
  return Step<std::vector<Stat>>(
      [this, ops = std::move(ops), deadline, where](Callback<std::vector<Stat>> next) {
        coordinator.multi(ops, deadline, std::move(next), where);
      });
}

std::vector<std::string> Directory::Impl::bucket_paths(const std::string& folder) const {
  std::vector<std::string> all;
  for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket)
    all.push_back(folder + "/" + bucket_component(bucket));
  return all;
}

Step<std::vector<std::string>> Directory::Impl::list_all(std::vector<std::string> all,
                                                         Deadline deadline) {
  struct State {
    std::size_t left = 0;
    std::vector<std::string> found;
    std::optional<Error> error;
  };
  return Step<std::vector<std::string>>(
      [this, all = std::move(all), deadline](Callback<std::vector<std::string>> next) {
        auto state = std::make_shared<State>();
        state->left = all.size();
        for (const std::string& folder : all) {
          coordinator.list(folder, deadline, [state, folder, next](Result<Children> children) {
            if (children) {
              for (const std::string& child : children->names)
                state->found.push_back(folder + "/" + child);
            } else if (children.error().code != Errc::no_node) {
              state->error = std::move(children.error());
            }
            if (--state->left > 0) return;
            if (state->error) {
              answer(next, std::move(*state->error));
            } else {
              next(std::move(state->found));
            }
          });
        }
      });
}

// --- DCs as binds see them ---------------------------------------------------------

Step<DcEntry> Directory::Impl::dc_to_bind_in(std::string name, Deadline deadline) {
  return Step<DcEntry>([this, name = std::move(name), deadline](Callback<DcEntry> next) {
    if (const auto& entry = dcs[name].entry) return next(*entry);
    read_dc(shared_from_this(), name, deadline, std::move(next));
  });
}

Flow Directory::Impl::read_dc(std::shared_ptr<Impl> self, std::string name, Deadline deadline,
                              Callback<DcEntry> done) {
  const std::string path = self->paths.dc(name);
  const auto stored = co_await self->get(path, deadline);
  if (!stored) {
    Error error = stored.error();
    if (error.code == Errc::no_node) {
      error = {Errc::dc_unknown, "no DC '" + name + "'"};
      self->dcs[name].entry.reset();
      self->dcs[name].free.clear();
    }
    answer(done, std::move(error));
    co_return;
  }
  auto entry = unpack<proto::DcRecord>(path, *stored);
  if (entry && entry->record.removing())
    entry = fail(Errc::dc_unknown, "DC '" + name + "' is being removed");
  if (entry) {
    DcState& state = self->dcs[name];
    // Made anew under the same name: slots of the former one mean nothing in it.
    if (state.entry && state.entry->record.id() != entry->record.id()) state.free.clear();
    state.entry = *entry;
  }
  done(std::move(entry));
}

Step<bool> Directory::Impl::dc_exists(std::string name, Deadline deadline) {
  return Step<bool>([this, name = std::move(name), deadline](Callback<bool> next) {
    coordinator.get(paths.dc(name), deadline, [next = std::move(next)](Result<Record> record) {
      if (record) return next(true);
      if (record.error().code == Errc::no_node) return next(false);
      answer(next, std::move(record.error()));
    });
  });
}

// --- Slots ---------------------------------------------------------------------------

Step<Directory::Impl::FreeSlot> Directory::Impl::take_slot(std::string dc, Deadline deadline) {
  return Step<FreeSlot>([this, dc = std::move(dc), deadline](Callback<FreeSlot> next) {
    DcState& state = dcs[dc];
    if (!state.free.empty()) {
      FreeSlot slot = std::move(state.free.front());
      state.free.pop_front();
      return next(std::move(slot));
    }
    state.waiting.push_back(std::move(next));
    if (!std::exchange(state.reserving, true)) reserve_block(shared_from_this(), dc, deadline);
  });
}

void Directory::Impl::give_back(const std::string& dc, FreeSlot slot) {
  DcState& state = dcs[dc];
  if (state.waiting.empty()) {
    state.free.push_back(std::move(slot));
    return;
  }
  const auto next = std::move(state.waiting.back());
  state.waiting.pop_back();
  next(std::move(slot));
}

Flow Directory::Impl::reserve_block(std::shared_ptr<Impl> self, std::string dc, Deadline deadline) {
  const auto range = co_await Step<SlotRange>([&](Callback<SlotRange> next) {
    reserve_slots_flow(self, dc, kSlotBlock, deadline, std::move(next));
  });
  auto waiting = std::exchange(self->dcs[dc].waiting, {});
  self->dcs[dc].reserving = false;
  if (!range) {
    // Of them all: the deadline of the one that asked first may be shorter than theirs,
    // but then the service was away that long.
    for (const auto& next : waiting) answer(next, range.error());
    co_return;
  }
  for (std::uint32_t i = 0; i < range->count; ++i)
    self->dcs[dc].free.push_back({range->first + i, std::nullopt});
  for (auto& next : waiting) {
    auto& free = self->dcs[dc].free;
    if (free.empty()) {
      // More waited than a block holds: these start the next one.
      auto again = self->take_slot(dc, deadline);
      again.start_with(std::move(next));
      continue;
    }
    FreeSlot slot = std::move(free.front());
    free.pop_front();
    next(std::move(slot));
  }
}

}  // namespace godwit::coord
