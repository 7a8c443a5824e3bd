// Moves: reads and lists, and the trimming of what is past.
#include "moves_impl.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace godwit::coord {
namespace {

using Impl = Directory::Impl;

bool planned_earlier(const MoveEntry& one, const MoveEntry& other) {
  return one.record.id() < other.record.id();
}

Flow read_active_flow(std::shared_ptr<Impl> self, std::uint64_t id, Deadline deadline,
                      Watcher watcher, Callback<MoveEntry> done) {
  const std::string path = self->paths.active_move(id);
  const auto stored = co_await self->get(path, deadline, std::move(watcher));
  if (stored) {
    done(unpack<proto::MigrationRecord>(path, *stored));
  } else if (stored.error().code == Errc::no_node) {
    answer(done, not_under_way(id));
  } else {
    answer(done, stored.error());
  }
}

Flow read_members_flow(std::shared_ptr<Impl> self, proto::MigrationRecord move, Deadline deadline,
                       Callback<std::vector<EndpointEntry>> done) {
  std::vector<std::string> paths;
  for (const auto& member : move.members())
    paths.push_back(self->paths.endpoint(move.dc(), member.slot()));
  auto found = co_await self->get_all<proto::EndpointRecord>(std::move(paths), deadline);
  if (!found) {
    answer(done, found.error());
    co_return;
  }
  std::vector<EndpointEntry> members;
  for (const auto& member : move.members()) {
    const auto entry = std::find_if(found->begin(), found->end(), [&](const EndpointEntry& each) {
      return is_member(move, member, each.record);
    });
    if (entry != found->end()) members.push_back(std::move(*entry));
  }
  done(std::move(members));
}

Flow get_flow(std::shared_ptr<Impl> self, std::uint64_t id, Deadline deadline,
              Callback<MoveEntry> done, Watcher watcher) {
  auto active = co_await read_active(self, id, deadline);
  // Watched only once it is known to exist: a watch for a record that never comes back
  // would stay for the life of the session.
  if (active && watcher) active = co_await read_active(self, id, deadline, std::move(watcher));
  if (active || active.error().code != Errc::no_node) {
    done(std::move(active));
    co_return;
  }
  const std::string path = self->paths.past_move(id);
  const auto stored = co_await self->get(path, deadline);
  if (stored) {
    done(unpack<proto::MigrationRecord>(path, *stored));
  } else if (stored.error().code == Errc::no_node) {
    answer(done, {Errc::no_node, "no move " + hex16(id)});
  } else {
    answer(done, stored.error());
  }
}

Flow get_with_members_flow(std::shared_ptr<Impl> self, std::uint64_t id, Deadline deadline,
                           Callback<Move> done) {
  auto active = co_await read_active(self, id, deadline);
  if (!active) {
    answer(done, active.error());
    co_return;
  }
  auto members = co_await read_members(self, active->record, deadline);
  if (!members) {
    answer(done, members.error());
    co_return;
  }
  done(Move{std::move(*active), std::move(*members)});
}

Flow list_active_flow(std::shared_ptr<Impl> self, Deadline deadline,
                      Callback<std::vector<MoveEntry>> done, Watcher watcher) {
  const std::string folder = self->paths.active_moves();
  const auto children = co_await self->list(folder, deadline, std::move(watcher));
  if (!children) {
    answer(done, children.error());
    co_return;
  }
  std::vector<std::string> all;
  for (const std::string& name : children->names) all.push_back(folder + "/" + name);
  auto entries = co_await self->get_all<proto::MigrationRecord>(std::move(all), deadline);
  if (entries) std::sort(entries->begin(), entries->end(), planned_earlier);
  done(std::move(entries));
}

// Ids sort by the time of their plan, so the names alone tell which are the newest.
std::vector<std::string> newest_first(const std::string& folder, const Children& children) {
  std::vector<std::string> all;
  for (const std::string& name : children.names) all.push_back(folder + "/" + name);
  std::sort(all.begin(), all.end(), std::greater<>());
  return all;
}

Flow list_past_flow(std::shared_ptr<Impl> self, std::size_t limit, Deadline deadline,
                    Callback<std::vector<MoveEntry>> done) {
  const std::string folder = self->paths.past_moves();
  const auto children = co_await self->list(folder, deadline);
  if (!children) {
    answer(done, children.error());
    co_return;
  }
  auto all = newest_first(folder, *children);
  all.resize(std::min(all.size(), limit));
  auto entries = co_await self->get_all<proto::MigrationRecord>(std::move(all), deadline);
  if (entries) {
    std::sort(entries->begin(), entries->end(), planned_earlier);
    std::reverse(entries->begin(), entries->end());
  }
  done(std::move(entries));
}

}  // namespace

bool is_member(const proto::MigrationRecord& move, const proto::MigrationMember& member,
               const proto::EndpointRecord& endpoint) {
  const bool in_place = endpoint.state() == proto::SERVING || endpoint.state() == proto::MOVING;
  return in_place && endpoint.slot() == member.slot() &&
         endpoint.generation() == member.generation() && endpoint.lineage() == member.lineage() &&
         endpoint.migration().id() == move.id();
}

Step<MoveEntry> read_active(std::shared_ptr<Impl> self, std::uint64_t id, Deadline deadline,
                            Watcher watcher) {
  return Step<MoveEntry>([=](Callback<MoveEntry> next) {
    read_active_flow(self, id, deadline, watcher, std::move(next));
  });
}

Step<std::vector<EndpointEntry>> read_members(std::shared_ptr<Impl> self,
                                              proto::MigrationRecord move, Deadline deadline) {
  return Step<std::vector<EndpointEntry>>([=](Callback<std::vector<EndpointEntry>> next) {
    read_members_flow(self, move, deadline, std::move(next));
  });
}

Flow trim_past(std::shared_ptr<Impl> self, std::uint64_t keep) {
  const Deadline deadline = after(std::chrono::seconds(10));
  const std::string folder = self->paths.past_moves();
  const auto children = co_await self->list(folder, deadline);
  if (!children) co_return;
  const auto all = newest_first(folder, *children);
  for (std::size_t i = kPastMoves; i < all.size(); ++i)
    // Not even when its plan was stamped by a clock that is behind: somebody may be about
    // to look how it ended.
    if (all[i] != self->paths.past_move(keep))
      self->coordinator.remove(all[i], Expected::any(), deadline, [](const Result<void>&) {});
}

Moves::Moves(Coordinator& coordinator, std::string root)
    : impl_(std::make_shared<Impl>(coordinator, std::move(root))) {}
Moves::~Moves() = default;

void Moves::get(std::uint64_t id, Deadline deadline, Callback<MoveEntry> done, Watcher watcher) {
  get_flow(impl_, id, deadline, std::move(done), std::move(watcher));
}

void Moves::get_with_members(std::uint64_t id, Deadline deadline, Callback<Move> done) {
  get_with_members_flow(impl_, id, deadline, std::move(done));
}

void Moves::list_active(Deadline deadline, Callback<std::vector<MoveEntry>> done, Watcher watcher) {
  list_active_flow(impl_, deadline, std::move(done), std::move(watcher));
}

void Moves::list_past(std::size_t limit, Deadline deadline, Callback<std::vector<MoveEntry>> done) {
  list_past_flow(impl_, limit, deadline, std::move(done));
}

std::string format_move_id(std::uint64_t id) {
  return hex16(id);
}

}  // namespace godwit::coord
