// What the state machines of a move answer with: a short list of actions, in order, by value.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "godwit/migrate/move.h"

namespace godwit::migrate {

/// A list that allocates nothing. No event has more than four consequences.
template <typename Action>
class ActionList {
 public:
  static constexpr std::size_t kCapacity = 4;

  void add(const Action& action) noexcept {
    assert(size_ < kCapacity);
    actions_[size_++] = action;
  }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const Action* begin() const noexcept { return actions_.data(); }
  const Action* end() const noexcept { return actions_.data() + size_; }
  const Action& operator[](std::size_t index) const noexcept { return actions_[index]; }

 private:
  std::array<Action, kCapacity> actions_{};
  std::size_t size_ = 0;
};

/// What the driver of an agent's machine must do.
struct AgentAction {
  enum class Kind : std::uint8_t {
    write,     // `write` (for `reason`, if it is an abort); then call on_settled
    push,      // `push` with `epoch` to `process`, if it is attached; else nothing
    start,     // find an idle process or start one; then call on_report(process, over)
    finished,  // the machine may be forgotten
  };
  Kind kind = Kind::finished;
  Write write = Write::none;
  Push push = Push::out;
  Epoch epoch = 0;
  /// Of a push: to whom. Of the write of PREPARED: the process to be named in the record.
  ProcessId process = 0;
  Reason reason = Reason::none;

  bool operator==(const AgentAction&) const = default;
};
using AgentActions = ActionList<AgentAction>;

/// What the driver of a process's machine must do.
struct ProcessAction {
  enum class Kind : std::uint8_t {
    copy,       // source: send what changed since the last round; then call on_round
    stop_copy,  // source: forget the dock and what was sent to it
    shut_gate,  // source: take, answer and accept nothing; call on_quiet when nothing is running
    send_rest,  // source: what changed, the images, the manifest; then call on_sent
    park,       // source: leave every connection; stay as it is
    open_gate,  // both: serve at `epoch`; raises the epoch if the gate is open already
    leave,      // source: give up the endpoints; late attaches are answered *moved*
    bind_dock,  // target: bind an anonymous endpoint; then call on_docked
    install,    // target: the endpoints are here, behind a shut gate
    forget,     // target: the dock, the state, the endpoints
    report,     // `report` and `reason` to the agent, if there is one; else nothing
  };
  Kind kind = Kind::report;
  Epoch epoch = 0;
  Report report = Report::unknown;
  Reason reason = Reason::none;

  bool operator==(const ProcessAction&) const = default;
};
using ProcessActions = ActionList<ProcessAction>;

}  // namespace godwit::migrate
