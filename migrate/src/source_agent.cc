#include "godwit/migrate/source_agent.h"

namespace godwit::migrate {

SourceAgent::SourceAgent(ProcessId process, const Limits& limits, Time now) noexcept
    : process_(process), limits_(limits), deadline_(now + limits.prepare) {}

AgentActions SourceAgent::on_record(const Record& record, Time now) noexcept {
  take(record, now);
  return decide(now);
}

AgentActions SourceAgent::on_settled(const Record& record, Time now) noexcept {
  pending_ = Write::none;
  take(record, now);
  return decide(now);
}

AgentActions SourceAgent::on_report(Report report, Reason reason, Time now) noexcept {
  report_ = report;
  // What it was told may have been lost with the agent or the connection that told it.
  told_ = false;
  if (report == Report::cannot) failed_ = reason;
  return decide(now);
}

AgentActions SourceAgent::on_process_lost(Time now) noexcept {
  process_lost_ = true;
  return decide(now);
}

AgentActions SourceAgent::on_target_lost(Time now) noexcept {
  target_lost_ = true;
  return decide(now);
}

AgentActions SourceAgent::on_time(Time now) noexcept {
  return decide(now);
}

Time SourceAgent::deadline() const noexcept {
  const bool counts = known_ && pending_ == Write::none && record_.phase != Phase::ended;
  return counts ? deadline_ : kNever;
}

SourceAgent::State SourceAgent::state() const noexcept {
  if (record_.phase == Phase::ended) return State::ended;
  if (pending_ == Write::abort) return State::ending;
  if (pending_ == Write::intent) return State::intending;
  if (record_.phase == Phase::moving) return State::closing;
  return record_.phase == Phase::prepared ? State::copying : State::waiting;
}

void SourceAgent::take(const Record& record, Time now) noexcept {
  if (!known_ || record != record_) told_ = told_end_ = false;
  if (record.phase == Phase::moving && record_.phase != Phase::moving) {
    deadline_ = now + limits_.blackout;
  }
  known_ = true;
  record_ = record;
}

AgentActions SourceAgent::decide(Time now) noexcept {
  AgentActions actions;
  if (!known_) return actions;
  if (record_.phase == Phase::ended) {
    end(actions);
    return actions;
  }
  if (pending_ != Write::none) return actions;
  if (const Reason reason = cause(now); reason != Reason::none) {
    ask(actions, Write::abort, reason);
  } else if (record_.phase == Phase::prepared) {
    if (report_ == Report::converged) {
      ask(actions, Write::intent);
    } else if (report_ == Report::unknown || report_ == Report::over) {
      tell(actions, Push::out);
    }
  } else if (record_.phase == Phase::moving) {
    if (report_ != Report::closing && report_ != Report::parked) tell(actions, Push::close);
  }
  return actions;
}

void SourceAgent::end(AgentActions& actions) noexcept {
  // An `over` from before this was known may be at an older epoch.
  const bool heard = told_end_ && (report_ == Report::over || report_ == Report::unknown);
  if (!process_lost_ && !heard) {
    told_ = false;
    told_end_ = true;
    return tell(actions, record_.owner == process_ ? Push::resume : Push::gone);
  }
  if (!process_lost_ && report_ != Report::over) return;
  if (pending_ != Write::none || finished_) return;
  finished_ = true;
  actions.add({.kind = AgentAction::Kind::finished});
}

Reason SourceAgent::cause(Time now) const noexcept {
  if (record_.torn) return Reason::member_lost;
  if (failed_ != Reason::none) return failed_;
  if (target_lost_) return Reason::target_lost;
  if (record_.phase == Phase::moving && report_ == Report::over) return Reason::not_in_move;
  if (now < deadline_) return Reason::none;
  return record_.phase == Phase::moving ? Reason::blackout_limit : Reason::prepare_limit;
}

void SourceAgent::ask(AgentActions& actions, Write write, Reason reason) noexcept {
  pending_ = write;
  actions.add({.kind = AgentAction::Kind::write, .write = write, .reason = reason});
}

void SourceAgent::tell(AgentActions& actions, Push push) noexcept {
  if (told_ || process_lost_) return;
  told_ = true;
  // What it said before is not its answer to this.
  report_ = Report::unknown;
  actions.add(
      {.kind = AgentAction::Kind::push, .push = push, .epoch = record_.epoch, .process = process_});
}

}  // namespace godwit::migrate
