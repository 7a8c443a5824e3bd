// PrivateZooKeeper: a ZooKeeper server of this process alone, on a free port of the loopback
// device. The destructor ends it; its data stands in the folder it was given. One thread at a time.
#pragma once

#include <string>

#include "child_process.h"
#include "godwit/error.h"

namespace godwit::local_cluster {

class PrivateZooKeeper {
 public:
  /// Blocks until it answers. Errors: not_found (no ZooKeeper is installed), system,
  /// deadline_exceeded.
  static Result<PrivateZooKeeper> start(const std::string& folder);

  /// "127.0.0.1:PORT"
  const std::string& address() const noexcept { return address_; }

 private:
  PrivateZooKeeper(ChildProcess server, std::string address)
      : server_(std::move(server)), address_(std::move(address)) {}
  ChildProcess server_;
  std::string address_;
};

}  // namespace godwit::local_cluster
