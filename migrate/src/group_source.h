// GroupSource: drives a SourceProcess: copies the state to the dock, shuts the gate, sends the
// rest.
//
// Owner: the Movable, one object per move. Thread of the group; step() runs between two requests.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "godwit/agent_link.h"
#include "godwit/endpoints/agent.pb.h"
#include "godwit/migrate/source_process.h"
#include "godwit/movable.h"
#include "state_stream.h"

namespace godwit::migrate {

class GroupSource final : private StateWriter {
 public:
  using Clock = std::chrono::steady_clock;

  GroupSource(Process& process, AgentLink& link, State* state, std::vector<Endpoint>& group,
              std::uint64_t move, const Limits& limits);

  void on_order(const endpoints::proto::MoveOrder& order);
  /// True: there is more to do at once.
  bool step();
  /// Says where the machine is, to an agent that does not know.
  void report();

  std::uint64_t move() const noexcept { return move_; }
  bool over() const noexcept { return machine_.over(); }
  bool left() const noexcept { return machine_.state() == SourceProcess::State::left; }

 private:
  // StateWriter
  void put(std::uint32_t kind, Bytes record) override;
  bool full() const override;

  void act(const ProcessActions& actions);
  void fail_with(Reason reason, const Error& error);
  bool announce(const std::string& intent);
  Result<void> find_dock();
  void begin_copy();
  void introduce();
  bool copy();
  Result<bool> send_pieces(std::size_t least);
  Result<void> send_rest();
  void tell(Report report, Reason reason);

  Process& process_;
  AgentLink& link_;
  State* state_;
  std::vector<Endpoint>& group_;
  const std::uint64_t move_;
  SourceProcess machine_;

  EndpointId dock_;
  std::optional<Endpoint> ferry_;  // sends to the dock
  Remote to_;
  std::optional<StreamWriter> stream_;
  std::vector<std::string> images_;
  std::set<std::string> introduced_;  // peers of which the target knows
  Clock::time_point introduce_at_{};
  bool copying_ = false;  // the machine wants a round
  bool announced_ = false;
  bool resting_ = false;  // save_rest() runs: the writer is never full
  bool shut_ = false;
  std::string text_;  // of what went wrong

  std::uint32_t rounds_ = 0;
  std::uint64_t round_goal_ = 0;   // what was not saved when the round began
  std::uint64_t round_saved_ = 0;  // bytes of records since
  std::uint64_t sent_ = 0;
  Clock::time_point close_at_{};  // {}: no close is put off
  Clock::time_point began_{}, closed_{}, quiet_{}, told_{};
  endpoints::proto::MoveTimes times_;
};

}  // namespace godwit::migrate
