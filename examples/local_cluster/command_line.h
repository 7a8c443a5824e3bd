// CommandLine: `godwit` at the agents of a cluster, as a user would call it.
//
// One thread. The cluster and the crew, whose workers it hears meanwhile, must outlive it.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "local_cluster/cluster.h"
#include "local_cluster/crew.h"

namespace godwit::local_cluster {

class CommandLine {
 public:
  CommandLine(Cluster& cluster, Crew& crew) noexcept : cluster_(cluster), crew_(crew) {}

  /// Starts `godwit ARGUMENTS` at a node's agent; what it complains of goes to a file of the
  /// cluster.
  Result<ChildProcess> start(const std::string& node, std::vector<std::string> arguments);
  /// Runs it to its end; what it prints. Errors: agent_unavailable (it failed, with its last
  /// complaint), those of Crew::run_until.
  Result<std::string> run(const std::string& node, std::vector<std::string> arguments);

  /// Until every node but `but` has told the agent of `at` that it can take what `program` serves.
  Result<void> wait_for_standbys(const std::string& at, const std::string& but,
                                 const std::string& program, std::chrono::milliseconds limit);

 private:
  Cluster& cluster_;
  Crew& crew_;
};

}  // namespace godwit::local_cluster
