// Directory: its folders, and the records of nodes.
#include "directory_impl.h"

#include <utility>

namespace godwit::coord {
namespace {

using Impl = Directory::Impl;

// The watcher of a read, or a time, whichever is first.
Step<bool> changed_or_at(std::shared_ptr<Impl> self, Deadline time,
                         std::shared_ptr<std::function<void()>> on_change) {
  return Step<bool>([self, time, on_change](Callback<bool> next) {
    auto once = std::make_shared<Callback<bool>>(std::move(next));
    const auto finish = [once](bool changed) {
      if (auto call = std::exchange(*once, nullptr)) call(changed);
    };
    *on_change = [finish] { finish(true); };
    self->coordinator.run_at(time, [finish] { finish(false); });
  });
}

Flow prepare_flow(std::shared_ptr<Impl> self, Deadline deadline, Callback<void> done) {
  std::vector<std::pair<std::string, std::string>> folders;
  const std::string& root = self->paths.root();
  for (std::size_t end = root.find('/', 1); end != std::string::npos; end = root.find('/', end + 1))
    folders.emplace_back(root.substr(0, end), "");
  folders.emplace_back(root, "");
  folders.emplace_back(self->paths.nodes(), "");
  folders.emplace_back(self->paths.incarnations(), "");
  folders.emplace_back(self->paths.migrations(), "");
  folders.emplace_back(self->paths.active_moves(), "");
  folders.emplace_back(self->paths.past_moves(), "");
  folders.emplace_back(self->paths.dcs(), "");
  folders.emplace_back(self->paths.dc_counter(), pack(proto::DcCounterRecord()));
  for (const auto& [path, data] : folders) {
    const auto made = co_await self->create(path, data, CreateMode::persistent, deadline);
    if (!made && made.error().code != Errc::node_exists) {
      answer(done, made.error());
      co_return;
    }
  }
  done({});
}

Step<void> remove_fence(std::shared_ptr<Impl> self, std::string path, Deadline deadline) {
  return Step<void>([self, path = std::move(path), deadline](Callback<void> next) {
    self->coordinator.remove(path, Expected::any(), deadline,
                             [next = std::move(next)](Result<void> removed) {
                               if (!removed && removed.error().code == Errc::no_node) removed = {};
                               next(std::move(removed));
                             });
  });
}

Flow register_flow(std::shared_ptr<Impl> self, proto::NodeRecord record, std::uint64_t predecessor,
                   Deadline deadline, Callback<NodeEntry> done) {
  const std::string path = self->paths.node(record.name());
  const std::string fence = self->paths.incarnation(record.name(), record.incarnation());
  const std::string data = pack(record);
  co_await self->on_thread();
  for (;;) {
    enum : int { kNode, kFence };
    std::vector<WriteOp> both;
    both.push_back(CreateOp{path, data, CreateMode::ephemeral});
    both.push_back(CreateOp{fence, "", CreateMode::ephemeral});
    const auto made = co_await self->multi(std::move(both), deadline);
    // The session went while it was created; the next create is in the new one.
    if (!made && made.error().code == Errc::session_expired) continue;
    if (made) {
      done(NodeEntry{std::move(record), (*made)[kNode]});
      co_return;
    }
    if (made.error().code != Errc::node_exists) {
      answer(done, made.error());
      co_return;
    }
    if (made.error().failed_op == kFence) {
      // Our own of an earlier try, whose record is gone already.
      const auto removed = co_await remove_fence(self, fence, deadline);
      if (removed) continue;
      answer(done, removed.error());
      co_return;
    }
    // Set before the read that arms the watcher, so that no change is missed.
    auto on_change = std::make_shared<std::function<void()>>([] {});
    auto gone_early = std::make_shared<bool>(false);
    *on_change = [gone_early] { *gone_early = true; };
    Watcher watcher = [on_change] { std::exchange(*on_change, [] {})(); };
    const auto stored = co_await self->get(path, deadline, std::move(watcher));
    if (!stored && stored.error().code == Errc::no_node) continue;
    if (!stored) {
      answer(done, stored.error());
      co_return;
    }
    const auto found = unpack<proto::NodeRecord>(path, *stored);
    const std::uint64_t incarnation = found ? found->record.incarnation() : 0;
    const std::string former = self->paths.incarnation(record.name(), incarnation);
    const bool own_session = stored->stat.ephemeral_owner == self->coordinator.session_id();
    if (own_session) {
      // In this order, a try that ends half-way is completed by the next.
      const auto fenced = co_await self->create(fence, "", CreateMode::ephemeral, deadline);
      if (!fenced && fenced.error().code == Errc::session_expired) continue;
      if (!fenced && fenced.error().code != Errc::node_exists) {
        answer(done, fenced.error());
        co_return;
      }
      if (former != fence) {
        const auto removed = co_await remove_fence(self, former, deadline);
        if (!removed) {
          answer(done, removed.error());
          co_return;
        }
      }
      auto set = co_await self->set(path, data, stored->stat, deadline);
      if (set) {
        set->ephemeral_owner = stored->stat.ephemeral_owner;
        done(NodeEntry{std::move(record), *set});
        co_return;
      }
      if (set.error().code == Errc::no_node || set.error().code == Errc::bad_version) continue;
      answer(done, set.error());
      co_return;
    }
    const bool ours =
        incarnation != 0 && (incarnation == record.incarnation() || incarnation == predecessor);
    if (ours) {
      // First, so that it never outlives the record.
      const auto unfenced = co_await remove_fence(self, former, deadline);
      if (!unfenced) {
        answer(done, unfenced.error());
        co_return;
      }
      const auto removed = co_await self->remove(path, stored->stat, deadline);
      if (removed || removed.error().code == Errc::no_node ||
          removed.error().code == Errc::bad_version)
        continue;
      answer(done, removed.error());
      co_return;
    }
    if (*gone_early) continue;
    const auto changed = co_await changed_or_at(self, deadline, on_change);
    if (*changed) continue;
    answer(done, {Errc::node_taken, "node '" + record.name() + "' is held by another live agent" +
                                        (found ? " (pid " + std::to_string(found->record.pid()) +
                                                     " on " + found->record.host() + ")"
                                               : "")});
    co_return;
  }
}

Flow unregister_flow(std::shared_ptr<Impl> self, NodeEntry entry, Deadline deadline,
                     Callback<void> done) {
  const proto::NodeRecord& record = entry.record;
  auto removed = co_await remove_fence(
      self, self->paths.incarnation(record.name(), record.incarnation()), deadline);
  if (removed)
    removed = co_await self->remove(self->paths.node(record.name()), entry.stat, deadline);
  done(std::move(removed));
}

Flow list_nodes_flow(std::shared_ptr<Impl> self, Deadline deadline,
                     Callback<std::vector<NodeEntry>> done, Watcher watcher) {
  const std::string folder = self->paths.nodes();
  const auto children = co_await self->list(folder, deadline, std::move(watcher));
  if (!children) {
    answer(done, children.error());
    co_return;
  }
  std::vector<std::string> all;
  for (const std::string& name : children->names) all.push_back(folder + "/" + name);
  auto entries = co_await self->get_all<proto::NodeRecord>(std::move(all), deadline);
  done(std::move(entries));
}

}  // namespace

void Directory::prepare(Deadline deadline, Callback<void> done) {
  prepare_flow(impl_, deadline, std::move(done));
}

void Directory::register_node(proto::NodeRecord record, std::uint64_t predecessor,
                              Deadline deadline, Callback<NodeEntry> done) {
  auto valid = validate_name("node name", record.name());
  if (valid && record.incarnation() == 0)
    valid = fail(Errc::bad_argument, "a node's incarnation must not be 0");
  if (!valid) return refuse(std::move(valid.error()), std::move(done));
  register_flow(impl_, std::move(record), predecessor, deadline, std::move(done));
}

void Directory::update_node(NodeEntry entry, Deadline deadline, Callback<NodeEntry> done) {
  const std::string path = impl_->paths.node(entry.record.name());
  std::string data = pack(entry.record);
  const Stat stat = entry.stat;
  impl_->coordinator.set(path, std::move(data), stat, deadline,
                         [entry = std::move(entry), done = std::move(done)](Result<Stat> set) {
                           if (!set) return answer(done, std::move(set.error()));
                           NodeEntry written = entry;
                           written.stat = *set;
                           written.stat.ephemeral_owner = entry.stat.ephemeral_owner;
                           done(std::move(written));
                         });
}

void Directory::unregister_node(NodeEntry entry, Deadline deadline, Callback<void> done) {
  unregister_flow(impl_, std::move(entry), deadline, std::move(done));
}

void Directory::get_node(std::string name, Deadline deadline, Callback<NodeEntry> done,
                         Watcher watcher) {
  if (auto valid = validate_name("node name", name); !valid)
    return refuse(std::move(valid.error()), std::move(done));
  const std::string path = impl_->paths.node(name);
  impl_->coordinator.get(
      path, deadline,
      [path, done = std::move(done)](Result<Record> stored) {
        if (!stored) return answer(done, std::move(stored.error()));
        done(unpack<proto::NodeRecord>(path, *stored));
      },
      std::move(watcher));
}

void Directory::list_nodes(Deadline deadline, Callback<std::vector<NodeEntry>> done,
                           Watcher watcher) {
  list_nodes_flow(impl_, deadline, std::move(done), std::move(watcher));
}

}  // namespace godwit::coord
