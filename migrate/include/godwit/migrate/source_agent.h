// SourceAgent: the part of the agent whose node a group leaves, for one move. A pure state machine
// (docs/migration.md): events and time in, actions out. No I/O, no clock, no allocation.
//
// It decides by what is known now (the record, the process's last word, the time), not by what
// happened: so it may be thrown away at any moment, and a new one that reads the record and hears
// the process goes on. At most one write is asked for at a time.
//
// Owner: the agent's driver, one object per move. One thread at a time.
#pragma once

#include "godwit/migrate/actions.h"
#include "godwit/migrate/move.h"

namespace godwit::migrate {

class SourceAgent {
 public:
  enum class State : std::uint8_t { waiting, copying, intending, closing, ending, ended };

  /// `process` has the members. The time for the move counts from here.
  SourceAgent(ProcessId process, const Limits& limits, Time now) noexcept;

  /// The record as read; records in the order in which they were written. Those of an agent that
  /// has just started may begin in the past, even before the plan, where the move looks ended.
  AgentActions on_record(const Record& record, Time now) noexcept;
  /// The write that was asked for is settled: `record` is what it wrote, or, if it lost the race,
  /// what was read since. Not before the outcome is known. The record alone says which of the two
  /// it was.
  AgentActions on_settled(const Record& record, Time now) noexcept;
  /// The process says where it is: see Report. The first word after each attach counts as well.
  AgentActions on_report(Report report, Reason reason, Time now) noexcept;
  /// The process is gone for good. That its endpoints are marked dead is the agent's own rule.
  AgentActions on_process_lost(Time now) noexcept;
  /// The target's agent is not registered with the incarnation of the record: it cannot commit.
  AgentActions on_target_lost(Time now) noexcept;
  AgentActions on_time(Time now) noexcept;

  /// When on_time is to be called next.
  Time deadline() const noexcept;
  State state() const noexcept;
  ProcessId process() const noexcept { return process_; }

 private:
  void take(const Record& record, Time now) noexcept;
  AgentActions decide(Time now) noexcept;
  void end(AgentActions& actions) noexcept;
  Reason cause(Time now) const noexcept;
  void ask(AgentActions& actions, Write write, Reason reason = Reason::none) noexcept;
  void tell(AgentActions& actions, Push push) noexcept;

  ProcessId process_;
  Limits limits_;
  Record record_;
  Report report_ = Report::unknown;
  Reason failed_ = Reason::none;
  Write pending_ = Write::none;
  bool known_ = false;     // a record was read
  bool told_ = false;      // what is to be told was told, and nothing has changed since
  bool told_end_ = false;  // how it ended, since that is known
  bool process_lost_ = false;
  bool target_lost_ = false;
  bool finished_ = false;
  Time deadline_;
};

}  // namespace godwit::migrate
