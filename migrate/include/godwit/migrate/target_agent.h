// TargetAgent: the part of the agent whose node a group comes to, for one move. A pure state
// machine (docs/migration.md): events and time in, actions out. No I/O, no clock, no allocation.
//
// As the SourceAgent it decides by what is known now, and may be replaced by a new one at any
// moment. A restart may leave several processes that were told to come in: the record names one; a
// process that is not the one gets `drop`.
//
// Owner: the agent's driver, one object per move. One thread at a time.
#pragma once

#include "godwit/migrate/actions.h"
#include "godwit/migrate/move.h"

namespace godwit::migrate {

class TargetAgent {
 public:
  enum class State : std::uint8_t { fresh, preparing, prepared, committing, ending, ended };

  TargetAgent(const Limits& limits, Time now) noexcept;

  /// The record as read; records in the order in which they were written. Those of an agent that
  /// has just started may begin in the past, even before the plan, where the move looks ended.
  AgentActions on_record(const Record& record, Time now) noexcept;
  /// The write that was asked for is settled: as SourceAgent::on_settled.
  AgentActions on_settled(const Record& record, Time now) noexcept;
  /// A process says where it is in this move. A machine that is made because a process spoke is
  /// given the report before the record: a move that has ended is done with if nobody is to be
  /// told. An idle one that was found or started for the move says `over`, and so does the process
  /// of the record if it has forgotten it.
  AgentActions on_report(ProcessId process, Report report, Reason reason, Time now) noexcept;
  AgentActions on_process_lost(ProcessId process, Time now) noexcept;
  /// This agent is not the one of the record: it has restarted since, and no commit can succeed.
  AgentActions on_fenced(Time now) noexcept;
  /// No process could be found or started.
  AgentActions on_start_failed(Time now) noexcept;
  AgentActions on_time(Time now) noexcept;

  /// When on_time is to be called next.
  Time deadline() const noexcept;
  State state() const noexcept;
  /// The process that is to serve; 0: none yet.
  ProcessId process() const noexcept { return process_; }

 private:
  void take(const Record& record, Time now, AgentActions& actions) noexcept;
  void decide(AgentActions& actions, Time now) noexcept;
  void end(AgentActions& actions) noexcept;
  Reason cause(Time now) const noexcept;
  void ask(AgentActions& actions, Write write, Reason reason = Reason::none) noexcept;
  void tell(AgentActions& actions, Push push) noexcept;
  void drop(AgentActions& actions, ProcessId process) const noexcept;

  Limits limits_;
  Record record_;
  ProcessId process_ = 0;
  Report report_ = Report::unknown;
  Reason failed_ = Reason::none;
  Write pending_ = Write::none;
  bool known_ = false;
  bool started_ = false;  // a process was asked for
  bool told_ = false;
  bool process_lost_ = false;
  bool fenced_ = false;
  bool finished_ = false;
  Time deadline_;
};

}  // namespace godwit::migrate
