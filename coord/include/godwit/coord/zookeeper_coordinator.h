// ZooKeeperCoordinator: the Coordinator over a ZooKeeper ensemble (3.5 or later),
// the authority of a cluster. Threads and contract: coordinator.h.
//
// It reconnects by itself, and makes a new session by itself after an expiry. Writes
// carry a nonce in an envelope before the record's data, by which one whose answer
// was lost is settled (src/settled_write.h).
#pragma once

#include <godwit/coord/coordinator.h>

#include <chrono>
#include <memory>
#include <string>

namespace godwit::coord {

struct ZooKeeperOptions {
  // "HOST:PORT,HOST:PORT,...", optionally with "/prefix" at the end.
  std::string servers;
  // Before every path ("/prod"), in addition to one in `servers`. Made if missing.
  std::string prefix;
  // "user:password" for digest authentication; empty: none, and records are open to
  // all. With it, records are made for their creator only.
  std::string digest_credentials;
  // Asked for; the ensemble has the last word (2 to 20 of its ticks).
  std::chrono::milliseconds session_timeout{6000};
  SessionHandler on_session;
};

class ZooKeeperCoordinator final : public Coordinator {
 public:
  // Returns at once; `connected` follows by event. bad_argument for options that can
  // never work.
  static Result<std::unique_ptr<ZooKeeperCoordinator>> open(ZooKeeperOptions options);
  ~ZooKeeperCoordinator() override;

  SessionId session_id() const override;
  bool connected() const override;
  bool on_callback_thread() const override;
  void run_at(Deadline time, std::function<void()> task) override;
  void close() override;

 protected:
  void start_write(std::vector<WriteOp> ops, Deadline deadline, Callback<std::vector<Stat>> done,
                   WriteOn where) override;
  void start_get(std::string path, Deadline deadline, Callback<Record> done,
                 Watcher watcher) override;
  void start_list(std::string path, Deadline deadline, Callback<Children> done,
                  Watcher watcher) override;
  void post(std::function<void()> task) override;

 private:
  class Impl;
  explicit ZooKeeperCoordinator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace godwit::coord
