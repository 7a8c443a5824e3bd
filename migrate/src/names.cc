// The names of the values of move.h, for logs and tests.
#include <cstddef>
#include <iterator>

#include "godwit/migrate/move.h"

namespace godwit::migrate {

const char* to_string(Phase phase) noexcept {
  static constexpr const char* kNames[] = {"PLANNED", "PREPARED", "MOVING", "ended"};
  return kNames[static_cast<int>(phase)];
}

const char* to_string(Write write) noexcept {
  static constexpr const char* kNames[] = {"nothing", "PREPARED", "intent", "commit", "abort"};
  return kNames[static_cast<int>(write)];
}

const char* to_string(Push push) noexcept {
  static constexpr const char* kNames[] = {"out", "close", "resume", "gone", "in", "go", "drop"};
  // It comes from the agent, which may be of a newer build.
  const auto index = static_cast<std::size_t>(push);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

const char* to_string(Report report) noexcept {
  static constexpr const char* kNames[] = {"unknown", "over",    "copying", "converged", "closing",
                                           "parked",  "binding", "docked",  "restored",  "cannot"};
  return kNames[static_cast<int>(report)];
}

const char* to_string(Reason reason) noexcept {
  static constexpr const char* kNames[] = {"no reason",
                                           "the time to prepare is over",
                                           "the time of the blackout is over",
                                           "the target's agent is lost",
                                           "the target's process is lost",
                                           "a member is lost",
                                           "the process is in another move",
                                           "the process is not in this move",
                                           "a request does not end",
                                           "the transfer failed",
                                           "no process could be started",
                                           "the state is not whole",
                                           "the state was refused"};
  return kNames[static_cast<int>(reason)];
}

}  // namespace godwit::migrate
