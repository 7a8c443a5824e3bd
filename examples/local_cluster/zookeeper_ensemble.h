// ZooKeeperEnsemble: one or three ZooKeeper servers of this process alone, on the loopback device
// or each a host of a Network, where they can be cut off from clients and from each other. Servers
// count from 0.
//
// Owner: whoever starts it; the destructor kills the servers. One thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "godwit/error.h"
#include "network.h"
#include "private_zookeeper.h"

namespace godwit::local_cluster {

class ZooKeeperEnsemble {
 public:
  static constexpr std::chrono::seconds kServingLimit{60};  // many JVMs start on few cores

  /// "zookeeper1", "zookeeper2", ...: what the servers are called as hosts of a network.
  static std::vector<std::string> hosts(std::size_t servers);

  /// In subfolders of `folder`, which it makes. With a network, that must have hosts() and outlive
  /// it. Blocks until all serve. Errors: invalid_argument (neither 1 nor 3), not_found (no
  /// ZooKeeper is installed), system, deadline_exceeded.
  static Result<ZooKeeperEnsemble> start(const std::string& folder, std::size_t servers,
                                         const Network* network = nullptr);

  /// The connect string with all servers, "HOST:PORT,HOST:PORT,HOST:PORT".
  std::string address() const;
  std::size_t size() const noexcept { return servers_.size(); }
  PrivateZooKeeper& server(std::size_t index) { return servers_.at(index); }

  /// The server that leads (or is alone), if there is one at the moment. A leader that is cut off
  /// may believe for some seconds that it leads: then it may be the one.
  std::optional<std::size_t> leader() const;

  /// kill -9. The last three do nothing to a server that does not run.
  void kill(std::size_t index) { servers_.at(index).kill(); }
  void pause(std::size_t index) { servers_.at(index).pause(); }
  void resume(std::size_t index) { servers_.at(index).resume(); }
  /// Starts a server again on its data and port; does not wait. Errors: system.
  Result<void> restart(std::size_t index);
  /// Blocks until all that are neither killed nor paused serve, and one of them leads. Errors:
  /// system, deadline_exceeded.
  Result<void> wait_serving(std::chrono::milliseconds limit = kServingLimit);

 private:
  ZooKeeperEnsemble() = default;
  std::vector<PrivateZooKeeper> servers_;
};

}  // namespace godwit::local_cluster
