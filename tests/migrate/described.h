// Actions in words, so that a test reads as a row of the tables of docs/migration.md.
#pragma once

#include <chrono>
#include <string>

#include "godwit/migrate/actions.h"

namespace godwit::migrate {

/// "write abort (a member is lost); push go 4 to 7".
inline std::string described(const AgentActions& actions) {
  std::string text;
  for (const AgentAction& action : actions) {
    if (!text.empty()) text += "; ";
    switch (action.kind) {
      case AgentAction::Kind::write:
        text += std::string("write ") + to_string(action.write);
        if (action.reason != Reason::none)
          text += std::string(" (") + to_string(action.reason) + ")";
        if (action.process != 0) text += " of " + std::to_string(action.process);
        break;
      case AgentAction::Kind::push:
        text += std::string("push ") + to_string(action.push) + " " +
                (action.epoch == kOver ? "over" : std::to_string(action.epoch)) + " to " +
                std::to_string(action.process);
        break;
      case AgentAction::Kind::start:
        text += "start";
        break;
      case AgentAction::Kind::finished:
        text += "finished";
        break;
    }
  }
  return text;
}

/// "shut gate; report cannot (a request does not end)".
inline std::string described(const ProcessActions& actions) {
  static constexpr const char* kNames[] = {"copy",    "stop copy", "shut gate", "send rest",
                                           "park",    "open gate", "leave",     "bind dock",
                                           "install", "forget",    "report"};
  std::string text;
  for (const ProcessAction& action : actions) {
    if (!text.empty()) text += "; ";
    text += kNames[static_cast<int>(action.kind)];
    if (action.kind == ProcessAction::Kind::open_gate) text += " " + std::to_string(action.epoch);
    if (action.kind != ProcessAction::Kind::report) continue;
    text += std::string(" ") + to_string(action.report);
    if (action.reason != Reason::none) text += std::string(" (") + to_string(action.reason) + ")";
  }
  return text;
}

/// Seconds since some start.
inline Time at(int seconds) {
  return Time(std::chrono::seconds(1000 + seconds));
}

inline constexpr ProcessId kSource = 5;
inline constexpr ProcessId kTarget = 7;

inline constexpr Record kPlanned{.phase = Phase::planned, .epoch = 3, .owner = kSource};
inline constexpr Record kPrepared{
    .phase = Phase::prepared, .epoch = 3, .owner = kSource, .process = kTarget};
inline constexpr Record kMoving{
    .phase = Phase::moving, .epoch = 3, .owner = kSource, .process = kTarget};
inline constexpr Record kCommitted{
    .phase = Phase::ended, .epoch = 4, .owner = kTarget, .process = kTarget};
inline constexpr Record kAborted{
    .phase = Phase::ended, .epoch = 4, .owner = kSource, .process = kTarget};
inline constexpr Record kAbortedEarly{.phase = Phase::ended, .epoch = 3, .owner = kSource};
inline constexpr Record kDead{.phase = Phase::ended, .torn = true, .epoch = kOver};

}  // namespace godwit::migrate
