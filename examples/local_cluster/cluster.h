// Cluster: several agents on this machine, each a node of its own with its own runtime directory,
// and what they share: a directory (local unless told otherwise) and the keys of the DCs.
//
// For the demonstration, the audit and the tests of the examples. Everything stands in one
// temporary folder. The destructor stops the agents and removes the folder. One thread at a time.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "child_process.h"
#include "godwit/error.h"
#include "private_zookeeper.h"
#include "temporary_directory.h"

namespace godwit::local_cluster {

struct ClusterOptions {
  std::vector<std::string> nodes = {"north", "east", "south"};
  std::string dc = "demo";
  std::string programs;            // the folder of godwitd; empty: that of this program
  std::string zookeeper;           // "HOST:PORT"; empty: the local directory
  bool private_zookeeper = false;  // starts one
};

class Cluster {
 public:
  /// Blocks until every agent answers. Errors: not_found (no godwitd), system, deadline_exceeded.
  static Result<Cluster> start(ClusterOptions options);

  /// Where programs of that node meet its agent: ProcessOptions::runtime_directory, $GODWIT_RUN.
  std::string runtime_directory(const std::string& node) const;
  /// A path in the cluster's temporary folder.
  std::string file(std::string_view name) const { return folder_.file(name); }
  const std::string& folder() const noexcept { return folder_.path(); }
  const std::vector<std::string>& nodes() const noexcept { return options_.nodes; }
  ChildProcess& agent(const std::string& node) { return agents_.at(node); }

  /// "local" or "zookeeper HOST:PORT"
  const std::string& directory() const noexcept { return directory_; }
  /// The logs' last lines, for a message about something that went wrong.
  std::string log_tail() const;
  void keep_folder() noexcept { folder_.keep(); }

  /// Stops all agents by SIGTERM. The names of those that did not end cleanly.
  std::vector<std::string> stop();

 private:
  Cluster(ClusterOptions options, TemporaryDirectory folder)
      : options_(std::move(options)), folder_(std::move(folder)) {}
  Result<void> start_agent(const std::string& node);
  Result<void> wait_ready(const std::string& node);

  ClusterOptions options_;
  std::string directory_;
  std::string directory_flag_;
  TemporaryDirectory folder_;  // after everything that lives in it is destroyed
  std::optional<PrivateZooKeeper> zookeeper_;
  std::map<std::string, ChildProcess> agents_;
};

/// The folder that holds the running program.
std::string program_folder();
/// The running program's path.
std::string this_program();

}  // namespace godwit::local_cluster
