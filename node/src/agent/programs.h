// Programs: what the configuration says can be started here to take a group that moves, and the
// processes that were started so.
//
// A started process has its own session, so that it outlives the agent and a terminal's signals;
// its output goes to the agent's log stream. It is watched by a pidfd and reaped. One that is not
// wanted any more gets SIGTERM, and SIGKILL 2 s later.
//
// Owner: the Mover. Loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/event_loop.h"
#include "godwit/error.h"

namespace godwit::node {

using ProgramCommands = std::map<std::string, std::vector<std::string>>;  // by program

struct ProgramSettings {
  ProgramCommands commands;
  std::string run_directory;
  int nice = 0;  // their scheduling priority, whatever that of the agent is
};

class Programs {
 public:
  /// A process that was started for the move is gone; `how`: "ended with status 3".
  using Ended = std::function<void(std::uint64_t move, const std::string& how)>;

  Programs(EventLoop& loop, ProgramSettings settings, Ended ended);
  /// What was started goes on.
  ~Programs();

  const ProgramCommands& commands() const noexcept { return settings_.commands; }

  /// Starts the program's command for the move. Errors: not_found (no command), system.
  Result<void> start(const std::string& program, std::uint64_t move);
  /// The pid of what was started for the move; 0: nothing, or it is gone.
  std::uint32_t pid_of(std::uint64_t move) const;
  /// Ends what was started for the move.
  void end(std::uint64_t move);
  /// Whether the process was told to end.
  bool is_ending(std::uint32_t pid) const;
  /// Ends a process that a former agent of this node has started.
  void end_process(std::uint32_t pid);

 private:
  struct Child {
    std::uint32_t pid = 0;
    int pidfd = -1;
    std::uint64_t move = 0;
    bool ours = false;  // to be reaped
    bool ending = false;
    EventLoop::TimerId kill_timer = 0;
  };

  Result<void> watch(std::uint32_t pid, std::uint64_t move, bool ours);
  void on_exit(std::uint64_t number);
  void terminate(Child& child, std::uint64_t number);

  EventLoop& loop_;
  const ProgramSettings settings_;
  const Ended ended_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, Child> children_;
};

}  // namespace godwit::node
