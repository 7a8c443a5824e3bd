// SimDirectory: the versioned records of one group, of the moves and of the nodes, and every state
// that they ever had, so that readings may be old. Owned by the World, which carries questions and
// answers and decides when a session expires.
#pragma once

#include <cstdint>
#include <vector>

#include "audit.h"
#include "records.h"
#include "rules.h"

namespace godwit::move_simulator {

class SimDirectory {
 public:
  SimDirectory(const Rules& rules, Audit& audit, std::uint32_t endpoints);

  /// The group is bound.
  void begin(ProcessId owner, const std::array<migrate::Epoch, Weather::kMaxEndpoints>& epochs);

  /// True: it happened, now or when it was issued before. False: it did not, and will not.
  bool apply(Operation& operation);
  void expire(NodeId node);

  std::uint32_t revision() const { return static_cast<std::uint32_t>(history_.size() - 1); }
  const Snapshot& now() const { return history_.back(); }
  const Snapshot& at(std::uint32_t revision) const { return history_[revision]; }
  const Plan& plan(MoveId move) const { return plans_[move]; }
  std::uint32_t endpoints() const { return endpoints_; }

  /// What the machines are shown of a move in one reading. The plan is known even where the reading
  /// is older than it: processes that take part say it.
  migrate::Record view(const Snapshot& snapshot, MoveId move) const;

 private:
  bool expected(const Operation& operation, const Snapshot& next) const;
  bool torn(const Snapshot& snapshot) const;
  bool change(const Operation& operation, Snapshot& next);
  void commit(const Operation& operation, Snapshot& next);
  void abort(const Operation& operation, Snapshot& next);
  void publish(const Snapshot& next);

  const Rules rules_;
  Audit& audit_;
  const std::uint32_t endpoints_;
  std::vector<Snapshot> history_;
  std::array<Plan, kMaxMoves + 1> plans_;
};

}  // namespace godwit::move_simulator
