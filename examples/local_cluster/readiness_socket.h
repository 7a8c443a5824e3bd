// ReadinessSocket: where an agent says that it is ready, by the protocol of service managers: a
// datagram to the socket that $NOTIFY_SOCKET names.
//
// Owner: whoever starts the agent; one for each start of it. The destructor removes the file. One
// thread at a time.
#pragma once

#include <chrono>
#include <string>

#include "child_process.h"
#include "godwit/error.h"

namespace godwit::local_cluster {

class ReadinessSocket {
 public:
  /// The path must be that of no file. Errors: system.
  static Result<ReadinessSocket> open(std::string path);
  ReadinessSocket(ReadinessSocket&& other) noexcept;
  ReadinessSocket& operator=(ReadinessSocket&& other) noexcept;
  ~ReadinessSocket();

  const std::string& path() const noexcept { return path_; }

  /// Blocks until READY=1 comes. Errors, to be said after the program's name: system ("ended with
  /// exit status 1"), deadline_exceeded.
  Result<void> wait(ChildProcess& program, std::chrono::milliseconds limit);

 private:
  ReadinessSocket(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  int fd_ = -1;
  std::string path_;
};

}  // namespace godwit::local_cluster
