#include "godwit/migrate/target_process.h"

namespace godwit::migrate {

namespace {

using Kind = ProcessAction::Kind;

}  // namespace

ProcessActions TargetProcess::on_push(Push push, Epoch epoch) noexcept {
  ProcessActions actions;
  if (push == Push::in) {
    if (state_ == State::idle) {
      state_ = State::binding;
      actions.add({.kind = Kind::bind_dock});
    } else if (over()) {
      // An answer that the agent acts upon: were it told `over` alone, it would say the same again.
      actions.add({.kind = Kind::report, .report = Report::cannot, .reason = Reason::not_in_move});
    } else {
      say(actions);
    }
  } else if (push == Push::go) {
    if (state_ == State::restored && epoch > epoch_ && epoch != kOver) {
      state_ = State::serving;
      epoch_ = epoch;
      actions.add({.kind = Kind::open_gate, .epoch = epoch});
    }
    // One that was not restored has no way to serve, and says so.
    if (state_ != State::restored) say(actions);
  } else if (push == Push::drop) {
    if (state_ == State::restored && epoch <= epoch_) return actions;
    if (state_ != State::serving) {
      const bool holds =
          state_ == State::binding || state_ == State::docked || state_ == State::restored;
      if (holds) actions.add({.kind = Kind::forget});
      state_ = State::dropped;
      failed_ = Reason::none;
    }
    say(actions);
  }
  return actions;
}

ProcessActions TargetProcess::on_docked() noexcept {
  ProcessActions actions;
  if (state_ != State::binding) return actions;
  state_ = State::docked;
  say(actions);
  return actions;
}

ProcessActions TargetProcess::on_manifest(bool whole, Epoch epoch) noexcept {
  if (state_ != State::docked) return {};
  if (!whole) return on_failed(Reason::bad_manifest);
  ProcessActions actions;
  state_ = State::restored;
  epoch_ = epoch;
  actions.add({.kind = Kind::install});
  say(actions);
  return actions;
}

ProcessActions TargetProcess::on_failed(Reason reason) noexcept {
  ProcessActions actions;
  // What is restored is whole: the source is not needed any more.
  if (state_ != State::binding && state_ != State::docked) return actions;
  state_ = State::dropped;
  failed_ = reason;
  actions.add({.kind = Kind::forget});
  say(actions);
  return actions;
}

bool TargetProcess::over() const noexcept {
  return state_ == State::idle || state_ == State::serving ||
         (state_ == State::dropped && failed_ == Reason::none);
}

Report TargetProcess::report() const noexcept {
  if (failed_ != Reason::none) return Report::cannot;
  switch (state_) {
    case State::binding:
      return Report::binding;
    case State::docked:
      return Report::docked;
    case State::restored:
      return Report::restored;
    case State::idle:
    case State::serving:
    case State::dropped:
      break;
  }
  return Report::over;
}

void TargetProcess::say(ProcessActions& actions) const noexcept {
  actions.add({.kind = Kind::report, .report = report(), .reason = failed_});
}

}  // namespace godwit::migrate
