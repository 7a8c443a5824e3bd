#include "godwit/migrate/target_agent.h"

namespace godwit::migrate {

TargetAgent::TargetAgent(const Limits& limits, Time now) noexcept
    : limits_(limits), deadline_(now + limits.prepare) {}

AgentActions TargetAgent::on_record(const Record& record, Time now) noexcept {
  AgentActions actions;
  take(record, now, actions);
  decide(actions, now);
  return actions;
}

AgentActions TargetAgent::on_settled(const Record& record, Time now) noexcept {
  AgentActions actions;
  pending_ = Write::none;
  take(record, now, actions);
  decide(actions, now);
  return actions;
}

AgentActions TargetAgent::on_report(ProcessId process, Report report, Reason reason,
                                    Time now) noexcept {
  AgentActions actions;
  if (process_ != 0 && process != process_) {
    if (report != Report::over) drop(actions, process);
    return actions;
  }
  // An idle process is of use only while one is looked for.
  if (process_ == 0 && report == Report::over && record_.phase != Phase::planned) return actions;
  process_ = process;
  report_ = report;
  told_ = false;
  if (report == Report::cannot) failed_ = reason;
  decide(actions, now);
  return actions;
}

AgentActions TargetAgent::on_process_lost(ProcessId process, Time now) noexcept {
  AgentActions actions;
  if (process == 0 || process != process_) return actions;
  process_lost_ = true;
  decide(actions, now);
  return actions;
}

AgentActions TargetAgent::on_fenced(Time now) noexcept {
  AgentActions actions;
  fenced_ = true;
  decide(actions, now);
  return actions;
}

AgentActions TargetAgent::on_start_failed(Time now) noexcept {
  AgentActions actions;
  if (process_ != 0) return actions;
  failed_ = Reason::start_failed;
  decide(actions, now);
  return actions;
}

AgentActions TargetAgent::on_time(Time now) noexcept {
  AgentActions actions;
  decide(actions, now);
  return actions;
}

Time TargetAgent::deadline() const noexcept {
  const bool counts = known_ && pending_ == Write::none && record_.phase != Phase::ended;
  return counts ? deadline_ : kNever;
}

TargetAgent::State TargetAgent::state() const noexcept {
  if (!known_) return State::fresh;
  if (record_.phase == Phase::ended) return State::ended;
  if (pending_ == Write::abort) return State::ending;
  if (pending_ == Write::commit) return State::committing;
  return record_.phase == Phase::planned ? State::preparing : State::prepared;
}

void TargetAgent::take(const Record& record, Time now, AgentActions& actions) noexcept {
  if (!known_ || record != record_) told_ = false;
  if (record.phase != record_.phase) {
    deadline_ = now + (record.phase == Phase::moving ? limits_.blackout : limits_.prepare);
  }
  known_ = true;
  record_ = record;
  if (record.process == 0 || record.process == process_) return;
  // The record names the one that a former agent had prepared.
  if (process_ != 0 && !process_lost_) drop(actions, process_);
  process_ = record.process;
  process_lost_ = false;
  report_ = Report::unknown;
  failed_ = Reason::none;
}

void TargetAgent::decide(AgentActions& actions, Time now) noexcept {
  if (!known_) return;
  if (record_.phase == Phase::ended) return end(actions);
  if (pending_ != Write::none) return;
  if (const Reason reason = cause(now); reason != Reason::none) {
    return ask(actions, Write::abort, reason);
  }
  if (record_.phase == Phase::planned) {
    if (process_ == 0 && !started_) {
      started_ = true;
      actions.add({.kind = AgentAction::Kind::start});
    } else if (report_ == Report::docked) {
      ask(actions, Write::prepared);
    } else if (report_ == Report::over) {
      tell(actions, Push::in);
    }
  } else if (record_.phase == Phase::moving && report_ == Report::restored) {
    ask(actions, Write::commit);
  }
}

void TargetAgent::end(AgentActions& actions) noexcept {
  if (process_ != 0 && !process_lost_ && report_ != Report::over) {
    tell(actions, record_.owner == process_ ? Push::go : Push::drop);
    return;
  }
  if (pending_ != Write::none || finished_) return;
  finished_ = true;
  actions.add({.kind = AgentAction::Kind::finished});
}

Reason TargetAgent::cause(Time now) const noexcept {
  if (record_.torn) return Reason::member_lost;
  if (fenced_) return Reason::target_lost;
  if (failed_ != Reason::none) return failed_;
  if (process_lost_) return Reason::process_lost;
  if (record_.phase != Phase::planned && report_ == Report::over) return Reason::process_lost;
  if (now < deadline_) return Reason::none;
  return record_.phase == Phase::moving ? Reason::blackout_limit : Reason::prepare_limit;
}

void TargetAgent::ask(AgentActions& actions, Write write, Reason reason) noexcept {
  pending_ = write;
  const ProcessId named = write == Write::prepared ? process_ : 0;
  actions.add(
      {.kind = AgentAction::Kind::write, .write = write, .process = named, .reason = reason});
}

void TargetAgent::tell(AgentActions& actions, Push push) noexcept {
  if (told_ || process_lost_) return;
  told_ = true;
  // What it said before is not its answer to this.
  report_ = Report::unknown;
  actions.add(
      {.kind = AgentAction::Kind::push, .push = push, .epoch = record_.epoch, .process = process_});
}

void TargetAgent::drop(AgentActions& actions, ProcessId process) const noexcept {
  actions.add({.kind = AgentAction::Kind::push,
               .push = Push::drop,
               .epoch = record_.epoch,
               .process = process});
}

}  // namespace godwit::migrate
