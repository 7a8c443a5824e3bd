#include "godwit/migrate/source_process.h"

namespace godwit::migrate {

namespace {

using Kind = ProcessAction::Kind;

}  // namespace

ProcessActions SourceProcess::on_push(Push push, Epoch epoch, Time now) noexcept {
  ProcessActions actions;
  switch (push) {
    case Push::out:
      if (state_ == State::serving && !over_) {
        state_ = State::copying;
        raise(actions, epoch);
        actions.add({.kind = Kind::copy});
      } else {
        over_ ? refuse(actions) : say(actions);
      }
      break;
    case Push::close:
      close(actions, now);
      break;
    case Push::resume:
      resume(actions, epoch);
      break;
    case Push::gone:
      leave(actions, epoch);
      break;
    default:
      break;
  }
  return actions;
}

ProcessActions SourceProcess::on_round(bool little) noexcept {
  ProcessActions actions;
  if (failed_ != Reason::none) return actions;
  if (state_ == State::copying) {
    ++rounds_;
    if (little || rounds_ >= limits_.rounds) {
      state_ = State::converged;
      say(actions);
    }
    actions.add({.kind = Kind::copy});
  } else if (state_ == State::converged) {
    // What changes until the close need not be sent during the blackout.
    actions.add({.kind = Kind::copy});
  }
  return actions;
}

ProcessActions SourceProcess::on_quiet() noexcept {
  ProcessActions actions;
  if (state_ != State::closing || sending_) return actions;
  sending_ = true;
  deadline_ = kNever;
  actions.add({.kind = Kind::send_rest});
  return actions;
}

ProcessActions SourceProcess::on_sent() noexcept {
  ProcessActions actions;
  if (state_ != State::closing || !sending_) return actions;
  state_ = State::parked;
  actions.add({.kind = Kind::park});
  return actions;
}

ProcessActions SourceProcess::on_failed(Reason reason) noexcept {
  ProcessActions actions;
  if (over_ || state_ == State::serving || failed_ != Reason::none) return actions;
  if (state_ == State::closing) {
    park_failed(actions, reason);
  } else {
    failed_ = reason;
    say(actions);
  }
  return actions;
}

ProcessActions SourceProcess::on_time(Time now) noexcept {
  ProcessActions actions;
  if (state_ == State::closing && now >= deadline_) park_failed(actions, Reason::not_quiet);
  return actions;
}

Report SourceProcess::report() const noexcept {
  if (over_) return Report::over;
  if (failed_ != Reason::none) return Report::cannot;
  switch (state_) {
    case State::copying:
      return Report::copying;
    case State::converged:
      return Report::converged;
    case State::closing:
      return Report::closing;
    case State::parked:
      return Report::parked;
    case State::serving:
    case State::left:
      break;
  }
  return Report::over;
}

void SourceProcess::say(ProcessActions& actions) const noexcept {
  actions.add({.kind = Kind::report, .report = report(), .reason = failed_});
}

void SourceProcess::close(ProcessActions& actions, Time now) noexcept {
  const bool copies = state_ == State::copying || state_ == State::converged;
  if (copies && failed_ == Reason::none) {
    state_ = State::closing;
    deadline_ = now + limits_.quiet;
    actions.add({.kind = Kind::shut_gate});
    return;
  }
  // There is nowhere to send the state to, so the gate stays open.
  if (state_ == State::serving || over_) return refuse(actions);
  say(actions);
}

void SourceProcess::refuse(ProcessActions& actions) noexcept {
  // An answer that the agent acts upon: were it told `over` alone, it would say the same again.
  actions.add({.kind = Kind::report, .report = Report::cannot, .reason = Reason::not_in_move});
}

void SourceProcess::resume(ProcessActions& actions, Epoch epoch) noexcept {
  if (state_ == State::left) return say(actions);
  const bool shut = state_ == State::closing || state_ == State::parked;
  if (epoch == kOver || epoch < epoch_ || (shut && epoch == epoch_)) return;
  if (state_ != State::serving) actions.add({.kind = Kind::stop_copy});
  raise(actions, epoch);
  state_ = State::serving;
  failed_ = Reason::none;
  over_ = true;
  say(actions);
}

void SourceProcess::raise(ProcessActions& actions, Epoch epoch) noexcept {
  if (epoch <= epoch_ || epoch == kOver) return;
  epoch_ = epoch;
  actions.add({.kind = Kind::open_gate, .epoch = epoch});
}

void SourceProcess::leave(ProcessActions& actions, Epoch epoch) noexcept {
  if (state_ == State::left) return say(actions);
  if (epoch <= epoch_) return;
  if (state_ != State::serving) actions.add({.kind = Kind::stop_copy});
  actions.add({.kind = Kind::leave});
  state_ = State::left;
  failed_ = Reason::none;
  over_ = true;
  say(actions);
}

void SourceProcess::park_failed(ProcessActions& actions, Reason reason) noexcept {
  // Stays shut: whether the group is still its own is for the directory to say.
  state_ = State::parked;
  failed_ = reason;
  deadline_ = kNever;
  actions.add({.kind = Kind::park});
  say(actions);
}

}  // namespace godwit::migrate
