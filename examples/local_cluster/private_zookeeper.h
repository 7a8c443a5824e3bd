// PrivateZooKeeper: a ZooKeeper server of this process alone, alone or as a member of an ensemble
// (zookeeper_ensemble.h), which can be stopped and started again with the same data and port.
//
// Owner: whoever makes it; the destructor kills the server, its data stands in the folder it was
// given. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "child_process.h"
#include "godwit/error.h"
#include "network_namespace.h"

namespace godwit::local_cluster {

struct PrivateZooKeeperOptions {
  std::string folder;  // made here
  std::string host = "127.0.0.1";
  std::uint16_t port = 2181;  // for clients
  NamespaceList namespaces;   // that it runs in; the descriptors must outlive it
  unsigned id = 1;
  std::string members;  // the lines `server.N=...` of an ensemble; empty: it is alone
};

class PrivateZooKeeper {
 public:
  /// Writes its files and starts nothing. Errors: not_found (no ZooKeeper is installed), system.
  static Result<PrivateZooKeeper> make(PrivateZooKeeperOptions options);

  /// Starts the server, also again, and does not wait. Nothing if it runs. Errors: system.
  Result<void> start();
  /// Blocks until it serves, which a member of an ensemble does only while most of them run.
  /// Errors: system (it ended), deadline_exceeded.
  Result<void> wait_serving(std::chrono::milliseconds limit);
  /// SIGTERM.
  void stop();
  void kill();
  /// SIGSTOP and SIGCONT.
  void pause();
  void resume();

  /// Started, and neither stopped, killed nor paused since.
  bool running() const noexcept { return server_ && !paused_; }
  /// "leader", "follower" or "standalone" while it serves; nullopt else. Blocks for up to 2 s.
  std::optional<std::string> mode() const;
  /// "127.0.0.1:PORT"
  std::string address() const { return options_.host + ":" + std::to_string(options_.port); }

 private:
  explicit PrivateZooKeeper(PrivateZooKeeperOptions options) : options_(std::move(options)) {}

  PrivateZooKeeperOptions options_;
  std::optional<ChildProcess> server_;
  bool paused_ = false;
};

}  // namespace godwit::local_cluster
