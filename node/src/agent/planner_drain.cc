// Planner: the moves that empty a node.
#include <algorithm>
#include <utility>

#include "agent/errors.h"
#include "agent/move_view.h"
#include "agent/planner.h"

namespace godwit::node {

namespace {

std::string name_of(const KnownEndpoint& endpoint) {
  return endpoint.record.name().empty() ? endpoint.id().to_string() : endpoint.full_name();
}

}  // namespace

struct Planner::Drain {
  std::string node;
  coord::Deadline deadline;
  Drained done;
  NodeSurvey nodes;
  std::map<std::string, std::uint32_t> load;  // endpoints by node, with those planned here
  std::vector<std::shared_ptr<const Dc>> dcs;
  std::vector<std::pair<std::shared_ptr<const Dc>, std::vector<Known>>> groups;
  std::set<std::uint64_t> under_way;  // moves of its endpoints that others have planned
  endpoints::proto::DrainReply reply;

  void stays(const KnownEndpoint& endpoint, const std::string& why) {
    auto& stay = *reply.add_stay();
    stay.set_name(name_of(endpoint));
    stay.set_reason(why);
  }

  /// The node that can take it and has the fewest endpoints; empty: none.
  std::string target_of(const KnownEndpoint& endpoint, const coord::proto::DcRecord& dc) const {
    std::string best;
    for (const auto& candidate : nodes.alive) {
      const std::string& name = candidate.name();
      if (name == node || !allows(dc, name)) continue;
      if (!has_program(candidate, endpoint.record.program())) continue;
      if (best.empty() || load.at(name) < load.at(best)) best = name;
    }
    return best;
  }
};

void Planner::drain(std::string node, coord::Deadline deadline, Drained done) {
  auto drain = std::make_shared<Drain>();
  drain->node = node.empty() ? node_ : std::move(node);
  drain->deadline = deadline;
  drain->done = std::move(done);
  survey(deadline, [this, drain](Result<NodeSurvey> nodes) {
    if (!nodes) return drain->done(tl::make_unexpected(nodes.error()));
    drain->nodes = std::move(*nodes);
    if (auto alive = check_alive(drain->nodes, drain->node); !alive) {
      return drain->done(tl::make_unexpected(std::move(alive.error())));
    }
    for (const auto& each : drain->nodes.alive) {
      drain->load[each.name()] = each.load().endpoints();
    }
    directory_.list_dcs(
        drain->deadline,
        on_loop<std::vector<coord::DcEntry>>(
            loop_, lifetime_, [this, drain](coord::Result<std::vector<coord::DcEntry>> dcs) {
              if (!dcs) return drain->done(tl::make_unexpected(to_error(dcs.error())));
              for (coord::DcEntry& entry : *dcs) {
                auto dc = std::make_shared<Dc>();
                dc->id = entry.record.id();
                dc->name = entry.record.name();
                dc->record = std::move(entry.record);
                drain->dcs.push_back(std::move(dc));
              }
              // Taken from the back.
              std::sort(drain->dcs.begin(), drain->dcs.end(),
                        [](const auto& a, const auto& b) { return a->name > b->name; });
              drain_dcs(drain);
            }));
  });
}

void Planner::drain_dcs(const DrainPtr& drain) {
  if (drain->dcs.empty()) {
    std::reverse(drain->groups.begin(), drain->groups.end());
    return drain_next(drain);
  }
  directory_.list_endpoints(
      drain->dcs.back()->name, drain->deadline,
      on_loop<std::vector<coord::EndpointEntry>>(
          loop_, lifetime_,
          [this, drain](coord::Result<std::vector<coord::EndpointEntry>> entries) {
            // A DC that was removed meanwhile has no endpoints to move.
            if (!entries && entries.error().code != coord::Errc::dc_unknown) {
              return drain->done(tl::make_unexpected(to_error(entries.error())));
            }
            if (entries) drain_dc(drain, std::move(*entries));
            drain->dcs.pop_back();
            drain_dcs(drain);
          }));
}

void Planner::drain_dc(const DrainPtr& drain, std::vector<coord::EndpointEntry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.record.slot() < b.record.slot(); });
  const auto& dc = drain->dcs.back();
  for (coord::EndpointEntry& entry : entries) {
    const Known endpoint = make_known(dc->name, std::move(entry.record));
    if (endpoint->record.owner().node() != drain->node || !endpoint->alive()) continue;
    const auto& migration = endpoint->record.migration();
    if (endpoint->record.has_migration() && migration.target_node() != drain->node) {
      // On its way already.
      drain->under_way.insert(migration.id());
      continue;
    }
    if (auto movable = check_movable(*endpoint); !movable) {
      drain->stays(*endpoint, movable.error().message);
      continue;
    }
    const auto group =
        std::find_if(drain->groups.begin(), drain->groups.end(), [&](const auto& each) {
          return same_group(each.second.front()->record, endpoint->record);
        });
    if (group == drain->groups.end()) {
      drain->groups.push_back({dc, {endpoint}});
    } else {
      group->second.push_back(endpoint);
    }
  }
}

void Planner::drain_next(const DrainPtr& drain) {
  if (!drain->under_way.empty()) {
    return drain_under_way(drain, drain->under_way.extract(drain->under_way.begin()).value());
  }
  if (drain->groups.empty()) return drain->done(std::move(drain->reply));
  const auto [dc, group] = std::move(drain->groups.back());
  drain->groups.pop_back();
  const KnownEndpoint& first = *group.front();
  const std::string target = drain->target_of(first, dc->record);
  if (target.empty()) {
    for (const Known& endpoint : group) {
      drain->stays(*endpoint,
                   "no other live node of the DC has the program '" + first.record.program() + "'");
    }
    return drain_next(drain);
  }
  endpoints::proto::MigrateRequest request;
  request.set_dc(first.id().dc);
  request.set_slot(first.id().slot);
  request.set_generation(first.id().generation);
  request.set_node(target);
  plan(request, drain->deadline,
       [this, drain, group = group, target](Result<endpoints::proto::MigrationInfo> planned) {
         if (planned) {
           drain->load[target] += static_cast<std::uint32_t>(planned->members_size());
           *drain->reply.add_moves() = std::move(*planned);
         } else {
           for (const Known& endpoint : group) drain->stays(*endpoint, planned.error().message);
         }
         drain_next(drain);
       });
}

void Planner::drain_under_way(const DrainPtr& drain, std::uint64_t move) {
  moves_.get(move, drain->deadline,
             on_loop<coord::MoveEntry>(
                 loop_, lifetime_, [this, drain](coord::Result<coord::MoveEntry> entry) {
                   if (entry) {
                     *drain->reply.add_moves() =
                         info_of(entry->record, dcs_.id_of(entry->record.dc()));
                   } else if (entry.error().code != coord::Errc::no_node) {
                     return drain->done(tl::make_unexpected(to_error(entry.error())));
                   }
                   drain_next(drain);
                 }));
}

}  // namespace godwit::node
