// SimAgent: the agent of a node, which drives the agents' machines of its moves: it reads the
// records, makes writes and settles them, carries pushes and reports, and starts processes. It does
// what docs/migration.md asks of the driver and no more. Owned by the World.
#pragma once

#include <optional>
#include <vector>

#include "godwit/migrate/source_agent.h"
#include "godwit/migrate/target_agent.h"
#include "message.h"
#include "party.h"

namespace godwit::move_simulator {

class World;

class SimAgent : public Party {
 public:
  SimAgent(World& world, NodeId node) : world_(&world), node_(node) {}

  NodeId node() const noexcept { return node_; }
  std::uint32_t incarnation() const noexcept { return incarnation_; }
  bool enrolled() const;
  /// What it reads must not be older than this.
  std::uint32_t seen() const noexcept { return seen_; }
  bool has_read() const noexcept { return read_; }

  void start();
  void crash();
  /// It can talk to the directory again, or runs again.
  void on_reach();
  void handle(const Event& event);
  /// No move is in its hands.
  bool idle() const noexcept { return parts_.empty(); }

 private:
  enum class Role : std::uint8_t { source, target, sweeper };
  struct Part {
    MoveId move;
    Role role;
    std::optional<migrate::SourceAgent> source;
    std::optional<migrate::TargetAgent> target;
    std::uint32_t operation = kNone;  // that is not settled
    migrate::Write write = migrate::Write::none;
    bool finished = false;
  };
  static constexpr std::uint32_t kNone = ~0u;

  // The directory.
  void look();
  void absorb(std::uint32_t revision);
  void issue(std::uint32_t operation);
  void answered(std::uint32_t operation, std::uint32_t revision, bool happened);
  void retry(std::uint32_t operation);
  void settle(Part& part, bool happened);
  Operation prepare(Operation::Kind kind, MoveId move) const;
  migrate::Record view(MoveId move) const;

  // Moves.
  Part& part(MoveId move, Role role);
  Part* find(MoveId move, Role role);
  void feed(Part& part);
  void perform(Part& part, const migrate::AgentActions& actions);
  void write(Part& part, const migrate::AgentAction& action);
  void push(MoveId move, migrate::Push push, migrate::Epoch epoch, ProcessId process);
  void find_process(Part& part);
  void on_message(const Message& message);
  void on_hello(const Message& message);
  void on_lost(ProcessId process);
  void on_timer();
  void set_timer();
  void erase_finished();

  // The rest.
  void plan(MoveId move);
  void bury(std::uint32_t members, ProcessId owner);
  void bury_lost();
  void sweep();
  void judge(NodeId node);

  World* world_;
  NodeId node_;
  std::uint32_t incarnation_ = 0;
  std::uint32_t seen_ = 0;  // the last revision that was read
  std::vector<Part> parts_;
  std::vector<std::uint32_t> pending_;  // operations without an answer
  std::vector<ProcessId> lost_;
  bool read_ = false;  // anything, since it started
  bool burying_ = false;
  bool looking_ = false;
  std::uint64_t timer_ = 0;
};

}  // namespace godwit::move_simulator
