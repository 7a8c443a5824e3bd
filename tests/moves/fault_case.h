// Fault cases: what goes wrong during one move, and where. Values.
//
// A case is a row of faults; each names a part of the move, a point in it (fault_points.h) and what
// happens there. All are laid out before the move; later ones are for points that are reached only
// because of earlier ones, as those of an abort. Its name, as people write it:
//
//   source.agent:write.intent.after:kill
//   target.agent:write.commit.before:hold+source.process:order.resume:stop
//   source.process:copy.round:hold/kill.client
//   started/target.process:state.loaded:kill
//   network/source.process:rest.half:hold/cut.both
//
// The word before the slash is the ground: what the nodes stand on.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/error.h"

namespace moves {

enum class Part : std::uint8_t {
  source_process,
  target_process,
  source_agent,
  target_agent,
  planner,  // the agent that is asked for the move, when it is neither source nor target
};

enum class Action : std::uint8_t {
  kill,  // SIGKILL; started again soon, before it is missed
  lose,  // SIGKILL; started again when its session is over
  stop,  // SIGSTOP; goes on when its session is over
  hold,  // waits at the point: while the deed is done, or until every limit is over
};

/// Done by the tester while somebody holds at a point.
enum class Deed : std::uint8_t {
  none,
  kill_client,
  stop_client,
  kill_source_node,  // agent and process
  stop_source_node,
  kill_target_node,
  stop_target_node,
  kill_both_nodes,
  cut_forth,   // what the source's node sends to the target's is dropped
  cut_back,    // the other way
  cut_both,    // both ways
  cut_source,  // the source's node from everybody
  cut_target,
  stop_directory,  // all servers of ZooKeeper
  kill_directory,
  stop_leader,  // one of them, that leads
  kill_leader,
};

enum class Ground : std::uint8_t {
  plain,      // the local directory, the loopback device; a bank stands by at every node
  started,    // nobody stands by: the target's agent starts the program
  network,    // each node is a host whose links can be cut; the local directory
  zookeeper,  // one server of ZooKeeper
  ensemble,   // three of them, and links that can be cut
};

struct Fault {
  Part part = Part::source_process;
  std::string point;
  Action action = Action::kill;
  Deed deed = Deed::none;

  bool operator==(const Fault&) const = default;
};

struct FaultCase {
  Ground ground = Ground::plain;
  std::vector<Fault> faults;

  std::string name() const;
  /// Whether a process that has the bank's memory may die of it.
  bool may_lose_memory() const;
  /// Whether a node may be taken for lost while its processes live.
  bool may_lose_nodes() const;
  /// Kills at the two writes that decide: always among those that are tested.
  bool decisive() const;
};

const char* to_string(Part part) noexcept;
const char* to_string(Ground ground) noexcept;

/// Errors: invalid_argument.
godwit::Result<FaultCase> parse_fault_case(std::string_view name);

/// Every case that there is, in a fixed order.
std::vector<FaultCase> all_fault_cases();

}  // namespace moves
