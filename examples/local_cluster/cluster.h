// Cluster: several agents on this machine, each a node of its own with its own runtime directory,
// and what they share: a directory (local unless told otherwise) and the keys of the DCs.
//
// For the demonstration, the audit and the tests of the examples. Everything stands in one
// temporary folder. The destructor stops the agents and removes the folder. One thread at a time.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "child_process.h"
#include "godwit/error.h"
#include "network.h"
#include "readiness_socket.h"
#include "temporary_directory.h"
#include "zookeeper_ensemble.h"

namespace godwit::local_cluster {

struct ClusterOptions {
  std::vector<std::string> nodes = {"north", "east", "south"};
  std::string dc = "demo";
  std::string programs = {};          // the folder of godwitd; empty: that of this program
  std::string zookeeper = {};         // "HOST:PORT"; empty: the local directory
  bool private_zookeeper = false;     // starts one
  std::size_t zookeeper_servers = 1;  // of the private one: 1 or 3
  /// With namespaces each node is a host of a Network, and so is each server of the private
  /// ZooKeeper (ZooKeeperEnsemble::hosts). The local directory is a file: no cut keeps a node from
  /// it.
  Network::Kind network = Network::loopback;
  std::string host = "127.0.0.1";             // of all nodes, when they are no hosts of a Network
  std::vector<std::string> agent_flags = {};  // added to each agent's command line
  /// Added to the environment of a node's agent, at each start.
  std::function<Environment(const std::string& node)> agent_environment = {};
};

class Cluster {
 public:
  /// Blocks until every agent is ready. Errors: not_found (no godwitd), not_supported (no
  /// namespaces; see Network::supported()), invalid_argument, system, deadline_exceeded.
  static Result<Cluster> start(ClusterOptions options);

  /// Where programs of that node meet its agent: ProcessOptions::runtime_directory, $GODWIT_RUN.
  std::string runtime_directory(const std::string& node) const;
  /// A path in the cluster's temporary folder.
  std::string file(std::string_view name) const { return folder_.file(name); }
  const std::string& folder() const noexcept { return folder_.path(); }
  const std::vector<std::string>& nodes() const noexcept { return options_.nodes; }
  ChildProcess& agent(const std::string& node) { return agents_.at(node); }
  /// What a program needs to be one of this node.
  ChildOptions child_options(const std::string& node, Environment environment = {}) const;

  /// kill -9, and waits for its end. Errors: not_found (no such node).
  Result<void> kill_agent(const std::string& node);
  /// Starts it again in the same folders (kills it first if it runs) and blocks until it is ready.
  /// Errors: not_found, system, deadline_exceeded.
  Result<void> restart_agent(const std::string& node);
  /// SIGSTOP and SIGCONT. Neither does anything to an agent that has ended.
  void pause_agent(const std::string& node);
  void resume_agent(const std::string& node);

  /// Only with Network::namespaces: to cut links between nodes.
  Network& network() { return network_.value(); }
  /// Only with a private ZooKeeper.
  ZooKeeperEnsemble& zookeeper() { return zookeeper_.value(); }

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
  Result<void> start_network();
  Result<void> start_directory();
  Result<void> start_agents();
  Result<void> start_agent(const std::string& node);
  Result<void> wait_ready(const std::string& node);
  Result<void> check_node(const std::string& node) const;

  ClusterOptions options_;
  std::string directory_;
  std::string directory_flag_;
  TemporaryDirectory folder_;  // after everything that lives in it is destroyed
  std::optional<Network> network_;
  std::optional<ZooKeeperEnsemble> zookeeper_;
  std::map<std::string, ReadinessSocket> readiness_;
  std::map<std::string, ChildProcess> agents_;
};

/// The folder that holds the running program.
std::string program_folder();
/// The running program's path.
std::string this_program();

}  // namespace godwit::local_cluster
