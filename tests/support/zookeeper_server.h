// A private ZooKeeper server (or an ensemble of three) for tests: Debian's package, on
// free loopback ports, in a temporary folder, with a small heap and ticks of 500 ms (so
// sessions of 1 to 10 s). It ends with its owner, also if that is killed.
//
// Owner: a test, on one thread. Start it before the test has threads of its own.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace godwit::test_support {

class ZooKeeperServer {
 public:
  // Why this machine cannot run one, for GTEST_SKIP; nullopt if it can.
  static std::optional<std::string> unavailable();

  // Starts a server and waits until it answers. Null when it did not (the log is then
  // printed to stderr).
  static std::unique_ptr<ZooKeeperServer> start();
  ZooKeeperServer(const ZooKeeperServer&) = delete;
  ZooKeeperServer& operator=(const ZooKeeperServer&) = delete;
  ~ZooKeeperServer();

  // "127.0.0.1:PORT"
  std::string address() const;
  int port() const { return client_port_; }

  void stop();    // SIGTERM, and waits
  void kill();    // SIGKILL, and waits
  void pause();   // SIGSTOP
  void resume();  // SIGCONT
  bool launch();  // after stop or kill: the same port and data
  bool wait_serving(std::chrono::milliseconds limit) const;

 private:
  friend class ZooKeeperEnsemble;
  ZooKeeperServer() = default;
  bool write_files(int id, const std::string& members);
  void end(int signal);

  std::string folder_;
  int client_port_ = 0;
  pid_t pid_ = -1;
};

class ZooKeeperEnsemble {
 public:
  static std::unique_ptr<ZooKeeperEnsemble> start();

  // All three, comma-separated.
  std::string addresses() const;
  ZooKeeperServer& server(int index) { return *servers_[static_cast<std::size_t>(index)]; }
  bool wait_serving(std::chrono::milliseconds limit) const;

 private:
  std::vector<std::unique_ptr<ZooKeeperServer>> servers_;
};

}  // namespace godwit::test_support
