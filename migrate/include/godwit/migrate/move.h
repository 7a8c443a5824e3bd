// The vocabulary of a move (docs/migration.md): what its record says, what is written, pushed and
// reported, and the limits. Values only.
#pragma once

#include <chrono>
#include <cstdint>

namespace godwit::migrate {

/// The local monotonic clock. Nobody compares the clocks of two machines.
using Time = std::chrono::steady_clock::time_point;
inline constexpr Time kNever = Time::max();

/// The incarnation of a process, as in the owner of an endpoint's record. 0: none.
using ProcessId = std::uint64_t;

/// The epoch of a group, one number for all members: the highest of theirs at the plan, and above
/// that as far as the living members have risen since. Each member rises by as much as the group
/// does.
using Epoch = std::uint32_t;
/// Above every epoch: nobody has the members any more, and nobody will. They are dead or unbound.
inline constexpr Epoch kOver = ~Epoch{0};

struct Limits {
  /// The source agent: from the plan to the intent. The target agent: from the plan to PREPARED,
  /// and from there to the intent.
  std::chrono::nanoseconds prepare = std::chrono::seconds(30);
  std::chrono::nanoseconds blackout = std::chrono::seconds(10);  // from MOVING to the commit
  std::chrono::nanoseconds quiet = std::chrono::seconds(2);      // for requests that were taken
  std::uint32_t rounds = 16;                                     // of copying before the intent
};

enum class Phase : std::uint8_t { planned, prepared, moving, ended };

/// A move as the directory tells it: the active record, and the records of the members.
struct Record {
  Phase phase = Phase::planned;  // ended: there is no active record
  /// A member is dead or unbound. The rest cannot be committed as one group any more.
  bool torn = false;
  Epoch epoch = 0;        // of the living members; kOver if there is none
  ProcessId owner = 0;    // of the living members; 0 if there is none
  ProcessId process = 0;  // the target's, from PREPARED on, as far as it is known

  bool operator==(const Record&) const = default;
};

/// What an agent asks to be written, each a multi at the versions of the record it was given last.
enum class Write : std::uint8_t { none, prepared, intent, commit, abort };

/// What an agent tells a process. All may come again, and late.
enum class Push : std::uint8_t {
  out,     // to the source: copy to the dock
  close,   // the intent is written: stop serving, send the rest
  resume,  // the members are the source's, at this epoch
  gone,    // they are another's, at this epoch
  in,      // to the target: bind a dock
  go,      // the members are the target's, at this epoch: the grant
  drop,    // they are another's, at this epoch
};

/// What a process tells its agent: when it changes, in answer to a push, and when it attaches
/// again.
enum class Report : std::uint8_t {
  unknown,    // nothing was said since the last push
  over,       // it is not in this move: not yet, or not any more
  copying,    // source
  converged,  // source: little is left to copy
  closing,    // source: the gate is shut
  parked,     // source: the rest was sent, or could not be
  binding,    // target: the dock is being bound
  docked,     // target
  restored,   // target: the state is whole, the gate shut
  cannot,     // either, with the reason
};

/// Why a move is aborted, or a process cannot go on.
enum class Reason : std::uint8_t {
  none,
  prepare_limit,
  blackout_limit,
  target_lost,      // the agent of the target that the plan was made with is not registered
  process_lost,     // the target's process, or it has dropped the move
  member_lost,      // a member is dead or unbound
  busy,             // the process is in another move
  not_in_move,      // told to close without having copied
  not_quiet,        // a request that was taken does not end
  transfer_failed,  // the way between the processes is lost
  start_failed,     // no process, or it could bind no dock
  bad_manifest,     // the state is not whole
  load_failed,      // the program refused the state
};

const char* to_string(Phase phase) noexcept;
const char* to_string(Write write) noexcept;
const char* to_string(Push push) noexcept;
const char* to_string(Report report) noexcept;
const char* to_string(Reason reason) noexcept;

}  // namespace godwit::migrate
