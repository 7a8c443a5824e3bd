// ChildProcess: one program that this one started, with a line-wise pipe in each direction.
//
// Owner: whoever started it; the destructor kills it and waits for its end, so nothing outlives its
// owner. If the owner itself is killed, the kernel kills the child (PR_SET_PDEATHSIG): start
// children on a thread that lives as long as they shall. One thread at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "godwit/error.h"
#include "network_namespace.h"

namespace godwit::local_cluster {

using Environment = std::vector<std::pair<std::string, std::string>>;

struct ChildOptions {
  Environment environment = {};  // added to this process's
  // Where its standard error goes, appended; empty: to this process's.
  std::string error_file = {};
  // Its standard output, written anew; empty: to the pipe that next_line() reads.
  std::string output_file = {};
  bool errors_to_output = false;           // its standard error goes where its output goes
  NamespaceList namespaces = {};           // that it runs in
  std::vector<int> kept_descriptors = {};  // open in it under the same numbers
};

/// How a process ended.
struct ExitStatus {
  int code = -1;   // of exit(), -1 if a signal ended it
  int signal = 0;  // 0: none
  bool ok() const noexcept { return code == 0; }
  std::string to_string() const;  // "exit status 3", "killed by signal 9"
};

class ChildProcess {
 public:
  /// `command[0]` is the program's path. Errors: system.
  static Result<ChildProcess> start(std::vector<std::string> command, ChildOptions options = {});
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const noexcept { return pid_; }
  /// Readable when there is output (or its end); -1 once its end was read.
  int output() const noexcept { return output_; }

  /// Reads what is there without blocking and hands over the next whole line, without its newline.
  std::optional<std::string> next_line();
  /// Waits for a line; nullopt at the end of the output or after `limit`.
  std::optional<std::string> wait_line(std::chrono::milliseconds limit);
  /// Writes a line to its standard input; false if it does not read any more.
  bool write_line(std::string_view line);
  /// Its standard input ends here.
  void end_input() noexcept;

  /// Sends a signal, unless it has ended already.
  void signal(int number) noexcept;
  /// SIGSTOP; returns once all its threads stand still (or it has ended).
  void pause() noexcept;
  /// SIGCONT.
  void resume() noexcept;
  /// How it ended, once it has.
  std::optional<ExitStatus> ended();
  /// Waits for its end; nullopt if it still runs after `limit`.
  std::optional<ExitStatus> wait(std::chrono::milliseconds limit);
  /// SIGTERM (also to one that is paused), then SIGKILL if it has not ended within `patience`.
  ExitStatus stop(std::chrono::milliseconds patience);

 private:
  ChildProcess() = default;
  void swap(ChildProcess& other) noexcept;
  void read_output();

  pid_t pid_ = -1;
  int pid_fd_ = -1;
  int input_ = -1;
  int output_ = -1;
  std::string unread_;
  std::optional<ExitStatus> status_;
};

}  // namespace godwit::local_cluster
