// TargetProcess: the part of the process that a group comes to, for one move. A pure state machine
// (docs/migration.md): events in, actions out. No I/O, no clock, no allocation.
//
// It opens its gate only when it is told `go`, and only at an epoch above that of the state. What
// it has restored may be the only copy, if the commit was written and nobody could say so yet: it
// forgets it only at an epoch above that of the state, too.
//
// Owner: the process's driver, one object per move. The thread of the group.
#pragma once

#include "godwit/migrate/actions.h"
#include "godwit/migrate/move.h"

namespace godwit::migrate {

class TargetProcess {
 public:
  enum class State : std::uint8_t { idle, binding, docked, restored, serving, dropped };

  /// A push of this move; of those of the source, none.
  ProcessActions on_push(Push push, Epoch epoch) noexcept;
  /// The dock is bound.
  ProcessActions on_docked() noexcept;
  /// The manifest arrived. `whole`: all that it lists is here and has its hash, and the program has
  /// loaded it. `epoch` is that of the group at the source.
  ProcessActions on_manifest(bool whole, Epoch epoch) noexcept;
  /// The dock could not be bound, the way from the source is lost, or the program refused the
  /// state.
  ProcessActions on_failed(Reason reason) noexcept;

  State state() const noexcept { return state_; }
  Epoch epoch() const noexcept { return epoch_; }
  /// The move is done with: the group is served here, or the agent knows that it was dropped.
  bool over() const noexcept;
  /// What it says when it attaches to an agent again.
  Report report() const noexcept;
  Reason reason() const noexcept { return failed_; }

 private:
  void say(ProcessActions& actions) const noexcept;

  State state_ = State::idle;
  Epoch epoch_ = 0;  // of the state, then of the gate
  Reason failed_ = Reason::none;
};

}  // namespace godwit::migrate
