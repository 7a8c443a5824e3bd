// SimProcess: a program that serves the group, stands by, or takes part in a move; it drives the
// machines of both sides. Its server remembers for each client which requests it took (the
// channel), what they did to its state (the program) and which replies may be asked for again.
// Owned by the World.
#pragma once

#include <optional>
#include <vector>

#include "audit.h"
#include "godwit/migrate/source_process.h"
#include "godwit/migrate/target_process.h"
#include "message.h"
#include "party.h"

namespace godwit::move_simulator {

class World;

class SimProcess : public Party {
 public:
  using Epochs = std::array<migrate::Epoch, Weather::kMaxEndpoints>;

  SimProcess(World& world, ProcessId id, NodeId node) : world_(&world), id_(id), node_(node) {}

  /// Serves the group from the beginning.
  void serve(const Epochs& epochs);

  ProcessId id() const noexcept { return id_; }
  NodeId node() const noexcept { return node_; }
  bool attached() const noexcept { return link_ != 0 && attached_; }
  std::uint32_t link() const noexcept { return link_; }
  bool gate_open() const noexcept { return alive && gate_; }
  migrate::Epoch group_epoch() const;
  migrate::Epoch epoch(std::uint32_t endpoint) const { return epochs_[endpoint]; }
  /// Neither has the group nor is in a move.
  bool idle() const noexcept { return !holds_ && !moving(); }
  bool moving() const noexcept;

  /// The agent has started, or this process has.
  void attach();
  void detach() { attached_ = false; }
  void kill();
  void handle(const Event& event);

  // What was scheduled last, so that messages of one way stay in order.
  std::uint64_t last_to_agent = 0, last_to_here = 0, last_to_dock = 0;

 private:
  struct Waiting {
    std::uint32_t endpoint;
    ClientId client;
    std::uint32_t number;
  };

  // Moves.
  void on_push(const Message& message);
  void on_source_push(const Message& message);
  void on_target_push(const Message& message);
  void perform(MoveId move, bool outgoing, const migrate::ProcessActions& actions);
  void copy();
  void send_changes();
  void send_rest();
  void open_gate(migrate::Epoch epoch);
  void shut_gate();
  void install();
  void forget();
  void report(MoveId move, bool outgoing, migrate::Report report, migrate::Reason reason);
  void on_state(const Message& message);
  void check_quiet();
  std::uint64_t hash(const Cells& cells) const;

  // Serving.
  void on_request(const Message& message);
  void take();
  void wake();
  void handled(std::uint32_t endpoint, ClientId client, std::uint32_t number);
  void answer(Message::Type type, std::uint32_t endpoint, ClientId client, std::uint32_t number);

  World* world_;
  ProcessId id_;
  NodeId node_;
  bool attached_ = false;
  std::uint32_t link_ = 0;

  bool holds_ = false;  // a copy of the group
  bool gate_ = false;
  Epochs epochs_{};
  Cells cells_{};
  std::vector<Waiting> inbox_;
  std::vector<Waiting> running_;
  bool awake_ = false;

  std::optional<migrate::SourceProcess> source_;
  MoveId source_move_ = 0;
  ProcessId dock_ = 0;
  std::uint32_t changed_ = 0;  // a bit for each cell

  std::optional<migrate::TargetProcess> target_;
  MoveId target_move_ = 0;
  Cells staged_{};
  Epochs staged_epochs_{};
};

}  // namespace godwit::move_simulator
