// Conductor: banks and clients on the nodes of a cluster, and the command line, as a user would use
// it. What is done with them is for whoever owns it: a tour of plain moves (tour.h), or faults at
// each step (fault_stage.h).
//
// One thread. The cluster must outlive it.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "local_cluster/cluster.h"
#include "local_cluster/crew.h"
#include "options.h"

namespace moves {

using Clock = std::chrono::steady_clock;
using godwit::Result;
using godwit::local_cluster::Cluster;
using godwit::local_cluster::Crew;
using godwit::local_cluster::Environment;
using godwit::local_cluster::Worker;

/// The cluster that the options ask for. Says on standard error where network namespaces were asked
/// for and are not to be had, and goes on without.
Result<Cluster> start_cluster(const Options& options);

class Conductor {
 public:
  Conductor(const Options& options, Cluster& cluster);

  /// Until it has said that it is ready; `stand_by`: it waits for the endpoints to move to it.
  Result<Worker*> start_bank(const std::string& node, bool stand_by,
                             std::vector<std::string> flags = {}, Environment environment = {});
  /// With an index of its own.
  Result<Worker*> start_client(const std::string& node, std::vector<std::string> flags = {});

  /// Runs `godwit ARGUMENTS` at a node's agent; what it prints. Errors: agent_unavailable (it
  /// failed, with what it printed), those of Crew::run_until.
  Result<std::string> godwit(const std::string& node, std::vector<std::string> arguments);
  /// Starts it alone; what it complains of goes to a file of the cluster.
  Result<godwit::local_cluster::ChildProcess> start_godwit(const std::string& node,
                                                           std::vector<std::string> arguments);

  /// Until every node but `but` has told the agent of `at` that it can take the bank, or what else
  /// `program` serves.
  Result<void> wait_for_standbys(const std::string& at, const std::string& but,
                                 std::chrono::milliseconds limit,
                                 const std::string& program = kProgram);

  Cluster& cluster() noexcept { return cluster_; }
  Crew& crew() noexcept { return crew_; }
  const Options& options() const noexcept { return options_; }

 private:
  const Options& options_;
  Cluster& cluster_;
  Crew crew_;
  unsigned clients_ = 0;
};

}  // namespace moves
