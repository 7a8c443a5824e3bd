// Conductor: banks and clients on the nodes of a cluster, and the command line. What is done with
// them is for whoever owns it: a tour of plain moves (tour.h), or faults at each step
// (fault_stage.h).
//
// One thread. The cluster must outlive it.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "local_cluster/cluster.h"
#include "local_cluster/command_line.h"
#include "local_cluster/crew.h"
#include "options.h"

namespace moves {

using Clock = std::chrono::steady_clock;
using godwit::Result;
using godwit::local_cluster::Cluster;
using godwit::local_cluster::CommandLine;
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

  Cluster& cluster() noexcept { return cluster_; }
  Crew& crew() noexcept { return crew_; }
  CommandLine& command_line() noexcept { return command_line_; }
  const Options& options() const noexcept { return options_; }

 private:
  const Options& options_;
  Cluster& cluster_;
  Crew crew_;
  CommandLine command_line_;
  unsigned clients_ = 0;
};

}  // namespace moves
