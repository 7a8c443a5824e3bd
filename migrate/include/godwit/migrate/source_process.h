// SourceProcess: the part of the process that a group leaves, for one move. A pure state machine
// (docs/migration.md): events and time in, actions out. No I/O, no clock, no allocation.
//
// It holds the gate. It opens a gate that it has shut only at an epoch above its own: a commit and
// an abort after MOVING both raise the epoch, so anything else was decided by an agent that read an
// old record, and that agent will read again. For the same reason it leaves only at a higher epoch.
//
// Owner: the process's driver, one object per move, until the next move begins: a late push of this
// move must find it. The thread of the group.
#pragma once

#include "godwit/migrate/actions.h"
#include "godwit/migrate/move.h"

namespace godwit::migrate {

class SourceProcess {
 public:
  enum class State : std::uint8_t { serving, copying, converged, closing, parked, left };

  /// `epoch` is that of the group, which is served.
  SourceProcess(Epoch epoch, const Limits& limits) noexcept : limits_(limits), epoch_(epoch) {}

  /// A push of this move; of those of the target, none. `out` carries the epoch at the plan: a
  /// process that was not told how an earlier move ended learns its own epoch from it.
  ProcessActions on_push(Push push, Epoch epoch, Time now) noexcept;
  /// A round of copying is done. `little`: what changed in the meantime is not worth another one.
  ProcessActions on_round(bool little) noexcept;
  /// The gate is shut, and no request that was taken is running.
  ProcessActions on_quiet() noexcept;
  /// The rest, the images and the manifest are on their way.
  ProcessActions on_sent() noexcept;
  /// The way to the dock is lost, or the state cannot be saved.
  ProcessActions on_failed(Reason reason) noexcept;
  ProcessActions on_time(Time now) noexcept;

  Time deadline() const noexcept { return state_ == State::closing ? deadline_ : kNever; }
  State state() const noexcept { return state_; }
  Epoch epoch() const noexcept { return epoch_; }
  /// The move is done with: the group is served here again, or has left.
  bool over() const noexcept { return over_; }
  /// What it says when it attaches to an agent again.
  Report report() const noexcept;
  Reason reason() const noexcept { return failed_; }

 private:
  void say(ProcessActions& actions) const noexcept;
  static void refuse(ProcessActions& actions) noexcept;
  void close(ProcessActions& actions, Time now) noexcept;
  void resume(ProcessActions& actions, Epoch epoch) noexcept;
  void raise(ProcessActions& actions, Epoch epoch) noexcept;
  void leave(ProcessActions& actions, Epoch epoch) noexcept;
  void park_failed(ProcessActions& actions, Reason reason) noexcept;

  Limits limits_;
  Epoch epoch_;
  State state_ = State::serving;
  Reason failed_ = Reason::none;
  bool over_ = false;
  bool sending_ = false;  // quiet: the rest is being sent
  std::uint32_t rounds_ = 0;
  Time deadline_ = kNever;
};

}  // namespace godwit::migrate
