// Planner: plans the move of an endpoint and of those that are served together with it, after the
// preflight; and the moves that drain a node. Any agent can.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/dc_table.h"
#include "agent/node_table.h"
#include "agent/preflight.h"
#include "agent/process_table.h"
#include "godwit/coord/moves.h"

namespace godwit::node {

class Planner {
 public:
  using Planned = std::function<void(Result<endpoints::proto::MigrationInfo>)>;
  using Drained = std::function<void(Result<endpoints::proto::DrainReply>)>;

  Planner(EventLoop& loop, coord::Directory& directory, coord::Moves& moves, NodeTable& nodes,
          DcTable& dcs, ProcessTable& processes, std::string node);

  /// Errors: not_found, invalid_argument and too_large are refusals, with what to do.
  void plan(const endpoints::proto::MigrateRequest& request, coord::Deadline deadline,
            Planned done);
  /// Moves each group of the node that can move to the node with its program and the fewest
  /// endpoints. `node` empty: this one.
  void drain(std::string node, coord::Deadline deadline, Drained done);

 private:
  struct Job {
    endpoints::proto::MigrateRequest request;
    coord::Deadline deadline;
    Planned done;
    int attempts = 0;
    bool uncertain = false;  // the plan may have been written
    std::shared_ptr<const Dc> dc;
    NodeSurvey nodes;
    Known endpoint;
    std::vector<coord::EndpointEntry> members;
    std::size_t unanswered = 0;
  };
  using JobPtr = std::shared_ptr<Job>;
  struct Drain;
  using DrainPtr = std::shared_ptr<Drain>;

  using Surveyed = std::function<void(Result<NodeSurvey>)>;
  void survey(coord::Deadline deadline, Surveyed done);

  void start(const JobPtr& job);
  void look_up(const JobPtr& job);
  void found(const JobPtr& job, coord::Result<coord::EndpointEntry> entry);
  void is_under_way(const JobPtr& job);
  void collect(const JobPtr& job);
  void collect_held(const JobPtr& job, const Process& process);
  void collect_listed(const JobPtr& job);
  void collected(const JobPtr& job);
  void write(const JobPtr& job);
  void written(const JobPtr& job, coord::Result<coord::Move> move);
  void fail_job(const JobPtr& job, Error error);

  void drain_dcs(const DrainPtr& drain);
  void drain_dc(const DrainPtr& drain, std::vector<coord::EndpointEntry> entries);
  void drain_next(const DrainPtr& drain);
  void drain_under_way(const DrainPtr& drain, std::uint64_t move);

  EventLoop& loop_;
  coord::Directory& directory_;
  coord::Moves& moves_;
  NodeTable& nodes_;
  DcTable& dcs_;
  ProcessTable& processes_;
  const std::string node_;
  Lifetime lifetime_;
};

}  // namespace godwit::node
