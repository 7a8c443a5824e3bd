#include "agent/planner.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "agent/errors.h"
#include "agent/move_view.h"
#include "godwit/migrate/fault_points.h"

namespace godwit::node {

namespace {
// The endpoints change between the reading and the plan at most this often before we give up.
constexpr int kAttempts = 4;
}  // namespace

Planner::Planner(EventLoop& loop, coord::Directory& directory, coord::Moves& moves,
                 NodeTable& nodes, DcTable& dcs, ProcessTable& processes, std::string node)
    : loop_(loop),
      directory_(directory),
      moves_(moves),
      nodes_(nodes),
      dcs_(dcs),
      processes_(processes),
      node_(std::move(node)) {}

// Read afresh: the table's watch does not see what changes within a record.
void Planner::survey(coord::Deadline deadline, Surveyed done) {
  directory_.list_nodes(
      deadline,
      on_loop<std::vector<coord::NodeEntry>>(
          loop_, lifetime_, [this, done](coord::Result<std::vector<coord::NodeEntry>> entries) {
            if (!entries) return done(tl::make_unexpected(to_error(entries.error())));
            nodes_.note(*entries);
            NodeSurvey survey;
            for (const auto& [name, node] : nodes_.all()) survey.vanished.insert(name);
            for (auto& entry : *entries) {
              survey.vanished.erase(entry.record.name());
              survey.alive.push_back(std::move(entry.record));
            }
            done(std::move(survey));
          }));
}

// --- One move -----------------------------------------------------------------------------------

void Planner::plan(const endpoints::proto::MigrateRequest& request, coord::Deadline deadline,
                   Planned done) {
  auto job = std::make_shared<Job>();
  job->request = request;
  job->deadline = deadline;
  job->done = std::move(done);
  start(job);
}

void Planner::fail_job(const JobPtr& job, Error error) {
  job->done(tl::make_unexpected(std::move(error)));
}

void Planner::start(const JobPtr& job) {
  ++job->attempts;
  job->members.clear();
  const auto on_dc = [this, job](const Result<std::shared_ptr<const Dc>>& dc) {
    if (!dc) return fail_job(job, dc.error());
    job->dc = *dc;
    survey(job->deadline, [this, job](Result<NodeSurvey> nodes) {
      if (!nodes) return fail_job(job, nodes.error());
      job->nodes = std::move(*nodes);
      look_up(job);
    });
  };
  if (job->request.name().empty()) {
    return dcs_.find_id(job->request.dc(), job->deadline, on_dc);
  }
  const auto name = EndpointName::parse(job->request.name());
  if (!name) return fail_job(job, name.error());
  dcs_.find(std::string(name->dc), job->deadline, on_dc);
}

void Planner::look_up(const JobPtr& job) {
  auto answer = on_loop<coord::EndpointEntry>(
      loop_, lifetime_,
      [this, job](coord::Result<coord::EndpointEntry> entry) { found(job, std::move(entry)); });
  if (job->request.name().empty()) {
    directory_.get_endpoint(job->dc->name, job->request.slot(), job->deadline, std::move(answer));
  } else {
    const auto name = EndpointName::parse(job->request.name());
    directory_.resolve(job->dc->name, std::string(name->name), job->deadline, std::move(answer));
  }
}

void Planner::found(const JobPtr& job, coord::Result<coord::EndpointEntry> entry) {
  const auto& request = job->request;
  const EndpointId id{request.dc(), request.slot(), request.generation()};
  const std::string asked = request.name().empty() ? id.to_string() : request.name();
  if (!entry) {
    const bool unknown = entry.error().code == coord::Errc::name_unknown ||
                         entry.error().code == coord::Errc::endpoint_stale;
    if (!unknown) return fail_job(job, to_error(entry.error(), asked));
    return fail_job(job, {Errc::not_found, "no such endpoint is bound", asked});
  }
  job->endpoint = make_known(job->dc->name, std::move(entry->record));
  if (request.name().empty() && job->endpoint->id() != id) {
    return fail_job(job, {Errc::not_found, "no such endpoint is bound", asked});
  }
  if (job->uncertain && job->endpoint->record.has_migration()) return is_under_way(job);
  if (auto movable = check_movable(*job->endpoint); !movable) {
    return fail_job(job, std::move(movable.error()));
  }
  auto fits = check_target(*job->endpoint, job->dc->record, job->nodes, request.node());
  if (!fits) return fail_job(job, std::move(fits.error()));
  collect(job);
}

// The answer to our plan was lost: a move to that node, asked for by this one, is it.
void Planner::is_under_way(const JobPtr& job) {
  moves_.get(job->endpoint->record.migration().id(), job->deadline,
             on_loop<coord::MoveEntry>(loop_, lifetime_,
                                       [this, job](coord::Result<coord::MoveEntry> entry) {
                                         if (!entry) return fail_job(job, to_error(entry.error()));
                                         if (entry->record.requested_by() == node_ &&
                                             entry->record.target_node() == job->request.node()) {
                                           return job->done(info_of(entry->record, job->dc->id));
                                         }
                                         fail_job(job, check_movable(*job->endpoint).error());
                                       }));
}

// What the process serves together with it: this node's table knows that of its own processes, the
// directory of all.
void Planner::collect(const JobPtr& job) {
  const Process* process = processes_.find(job->endpoint->record.owner().process());
  if (process != nullptr && job->endpoint->record.owner().node() == node_) {
    collect_held(job, *process);
  } else {
    collect_listed(job);
  }
}

void Planner::collect_held(const JobPtr& job, const Process& process) {
  std::vector<std::uint32_t> slots;
  for (const auto& [id, held] : process.held) {
    const auto& record = held.endpoint->record;
    if (id.dc == job->endpoint->record.dc() &&
        record.engine_address() == job->endpoint->record.engine_address()) {
      slots.push_back(id.slot);
    }
  }
  // One more than there are: the job must not go on while they are being asked for.
  job->unanswered = slots.size() + 1;
  const auto answered = [this, job](coord::Result<coord::EndpointEntry> entry) {
    if (entry && same_group(entry->record, job->endpoint->record)) {
      job->members.push_back(std::move(*entry));
    }
    if (--job->unanswered == 0) collected(job);
  };
  for (const std::uint32_t slot : slots) {
    directory_.get_endpoint(job->dc->name, slot, job->deadline,
                            on_loop<coord::EndpointEntry>(loop_, lifetime_, answered));
  }
  if (--job->unanswered == 0) collected(job);
}

void Planner::collect_listed(const JobPtr& job) {
  directory_.list_endpoints(
      job->dc->name, job->deadline,
      on_loop<std::vector<coord::EndpointEntry>>(
          loop_, lifetime_, [this, job](coord::Result<std::vector<coord::EndpointEntry>> entries) {
            if (!entries) return fail_job(job, to_error(entries.error()));
            for (coord::EndpointEntry& entry : *entries) {
              if (same_group(entry.record, job->endpoint->record)) {
                job->members.push_back(std::move(entry));
              }
            }
            collected(job);
          }));
}

void Planner::collected(const JobPtr& job) {
  std::erase_if(job->members, [](const coord::EndpointEntry& entry) {
    return entry.record.state() != coord::proto::SERVING &&
           entry.record.state() != coord::proto::MOVING;
  });
  std::sort(job->members.begin(), job->members.end(),
            [](const auto& a, const auto& b) { return a.record.slot() < b.record.slot(); });
  const bool still_there =
      std::any_of(job->members.begin(), job->members.end(), [&](const coord::EndpointEntry& each) {
        return each.record.slot() == job->endpoint->record.slot();
      });
  // Changed since it was looked up.
  if (!still_there && job->attempts < kAttempts) return start(job);
  if (!still_there) {
    return fail_job(job, {Errc::not_found, "it changes too often", job->endpoint->label()});
  }
  for (const coord::EndpointEntry& member : job->members) {
    if (auto movable = check_movable({job->dc->name, member.record}); !movable) {
      return fail_job(job, std::move(movable.error()));
    }
  }
  if (job->members.size() > coord::kMaxMembers) {
    return fail_job(job,
                    {Errc::too_large,
                     "it is served together with " + std::to_string(job->members.size() - 1) +
                         " others; a move takes at most " + std::to_string(coord::kMaxMembers) +
                         " endpoints: serve them in several threads",
                     job->endpoint->label()});
  }
  write(job);
}

void Planner::write(const JobPtr& job) {
  coord::MovePlan plan;
  plan.dc = job->dc->name;
  plan.members = job->members;
  plan.target_node = job->request.node();
  plan.target_incarnation = job->nodes.find(plan.target_node)->incarnation();
  plan.requested_by = node_;
  migrate::fault_point("write.plan.before");
  moves_.plan(std::move(plan), job->deadline,
              on_loop<coord::Move>(loop_, lifetime_, [this, job](coord::Result<coord::Move> move) {
                written(job, std::move(move));
              }));
}

void Planner::written(const JobPtr& job, coord::Result<coord::Move> move) {
  migrate::fault_point("write.plan.after");
  if (move) {
    const auto& record = move->entry.record;
    spdlog::info("move {}: planned {} from node {} to node {}", coord::format_move_id(record.id()),
                 label_of(record), record.source().node(), record.target_node());
    return job->done(info_of(record, job->dc->id));
  }
  const coord::Error& error = move.error();
  const bool changed = error.code == coord::Errc::bad_version ||
                       error.code == coord::Errc::endpoint_stale ||
                       error.code == coord::Errc::node_taken;
  const bool unknown =
      error.code == coord::Errc::deadline || error.code == coord::Errc::outcome_unknown;
  if (unknown) job->uncertain = true;
  // The preflight says what has changed, or that the plan is there.
  if ((changed || unknown) && job->attempts < kAttempts && Clock::now() < job->deadline) {
    return start(job);
  }
  fail_job(job, to_error(error, job->endpoint->label()));
}

}  // namespace godwit::node
