// GroupTarget: drives a TargetProcess: binds the dock, loads what arrives, installs the endpoints
// behind a shut gate, and opens it when it is granted.
//
// Owner: the Movable, one object per move. Thread of the group.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "godwit/agent_link.h"
#include "godwit/endpoints/agent.pb.h"
#include "godwit/migrate/target_process.h"
#include "godwit/movable.h"
#include "state_stream.h"

namespace godwit::migrate {

class GroupTarget {
 public:
  using Clock = std::chrono::steady_clock;

  /// `dc`: where the dock is bound. `group`: where the endpoints are put.
  GroupTarget(Process& process, AgentLink& link, Movable& movable, State* state, std::string dc,
              std::vector<Endpoint>& group, std::uint64_t move);

  void on_order(const endpoints::proto::MoveOrder& order);
  bool step();
  void report();
  /// Once it serves, now and then: what could wait until the clients are back. True: something does
  /// still.
  bool settle();

  std::uint64_t move() const noexcept { return move_; }
  bool over() const noexcept { return machine_.over(); }
  bool serving() const noexcept { return machine_.state() == TargetProcess::State::serving; }

 private:
  void act(const ProcessActions& actions);
  void fail_with(Reason reason, const Error& error);
  Result<void> take(const ItemHeader& header, Bytes bytes);
  Result<void> install();
  bool receive_peers();
  void forget();
  void tell(Report report, Reason reason);

  Process& process_;
  AgentLink& link_;
  Movable& movable_;
  State* state_;
  const std::string dc_;
  std::vector<Endpoint>& group_;
  const std::uint64_t move_;
  TargetProcess machine_;

  std::optional<Endpoint> dock_;
  EndpointId source_;  // whoever sent the first piece
  StreamReader stream_;
  std::uint32_t version_ = 0;
  std::vector<std::string> images_;
  std::string intent_;  // of the source's agent, for this one's
  std::string text_;
  bool receiving_ = false;       // there are peers to attach to
  Clock::time_point arrived_{};  // the manifest
  Clock::time_point opened_{};   // the gate
  bool untold_ = false;          // the agent does not know yet that this is over
  endpoints::proto::MoveTimes times_;
};

}  // namespace godwit::migrate
