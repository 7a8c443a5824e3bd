#include "directory.h"

#include <algorithm>

namespace godwit::move_simulator {

using migrate::Epoch;
using migrate::Phase;

namespace {

Epoch highest(const std::array<Epoch, Weather::kMaxEndpoints>& epochs, std::uint32_t count) {
  Epoch epoch = 0;
  for (std::uint32_t i = 0; i < count; ++i) epoch = std::max(epoch, epochs[i]);
  return epoch;
}

}  // namespace

SimDirectory::SimDirectory(const Rules& rules, Audit& audit, std::uint32_t endpoints)
    : rules_(rules), audit_(audit), endpoints_(endpoints) {
  history_.reserve(64);
  history_.emplace_back();
}

void SimDirectory::begin(ProcessId owner, const std::array<Epoch, Weather::kMaxEndpoints>& epochs) {
  for (std::uint32_t i = 0; i < endpoints_; ++i) {
    history_.back().endpoints[i].owner = owner;
    history_.back().endpoints[i].epoch = epochs[i];
  }
  audit_.on_granted(owner, highest(epochs, endpoints_));
}

bool SimDirectory::apply(Operation& operation) {
  if (operation.applied) return true;
  Snapshot next = now();
  if (!expected(operation, next) || !change(operation, next)) return false;
  publish(next);
  operation.applied = true;
  operation.revision = revision();
  return true;
}

void SimDirectory::expire(NodeId node) {
  Snapshot next = now();
  next.nodes[node].present = false;
  publish(next);
}

bool SimDirectory::expected(const Operation& operation, const Snapshot& next) const {
  using Kind = Operation::Kind;
  if (operation.kind == Kind::enroll) return true;
  const bool blind = operation.kind == Kind::commit && !rules_.commit_checks_versions;
  for (std::uint32_t i = 0; i < endpoints_ && !blind; ++i) {
    const bool concerned = operation.kind != Kind::prepared &&
                           (operation.kind != Kind::dead || (operation.members >> i & 1) != 0);
    if (concerned && next.endpoints[i].version != operation.versions[i]) return false;
  }
  if (operation.kind == Kind::plan || operation.kind == Kind::dead || blind) return true;
  const MoveRecord& move = next.moves[operation.move];
  return move.active && move.version == operation.move_version;
}

bool SimDirectory::torn(const Snapshot& snapshot) const {
  return std::any_of(snapshot.endpoints.begin(), snapshot.endpoints.begin() + endpoints_,
                     [](const EndpointRecord& endpoint) { return endpoint.dead; });
}

bool SimDirectory::change(const Operation& operation, Snapshot& next) {
  using Kind = Operation::Kind;
  MoveRecord& move = next.moves[operation.move];
  switch (operation.kind) {
    case Kind::enroll:
      // A restarted agent removes the record of its former self.
      if (operation.incarnation < next.nodes[operation.node].incarnation) return false;
      next.nodes[operation.node] = {true, operation.incarnation};
      // It claims its endpoints again: for others that write them, a race that is lost to no end.
      for (std::uint32_t i = 0; i < endpoints_; ++i) {
        next.endpoints[i].version += operation.members >> i & 1;
      }
      return true;
    case Kind::plan: {
      const NodeRecord& node = next.nodes[operation.plan.target];
      if (!node.present || node.incarnation != operation.plan.target_incarnation) return false;
      plans_[operation.move] = operation.plan;
      move = {1, true, Phase::planned, 0};
      for (std::uint32_t i = 0; i < endpoints_; ++i) {
        ++next.endpoints[i].version;
        next.endpoints[i].move = operation.move;
      }
      return true;
    }
    case Kind::prepared:
      if (move.phase != Phase::planned) return false;
      ++move.version;
      move.phase = Phase::prepared;
      move.process = operation.process;
      return true;
    case Kind::intent:
      if (move.phase != Phase::prepared || torn(next)) return false;
      ++move.version;
      move.phase = Phase::moving;
      for (std::uint32_t i = 0; i < endpoints_; ++i) {
        ++next.endpoints[i].version;
        next.endpoints[i].moving = true;
      }
      return true;
    case Kind::commit: {
      const Plan& plan = plans_[operation.move];
      const NodeRecord& node = next.nodes[plan.target];
      const bool registered = node.present && node.incarnation == plan.target_incarnation;
      if (rules_.commit_checks_agent && !registered) return false;
      const bool fit = move.phase == Phase::moving && !torn(next);
      if (rules_.commit_checks_versions && !fit) return false;
      commit(operation, next);
      return true;
    }
    case Kind::abort:
      abort(operation, next);
      return true;
    case Kind::dead: {
      std::uint32_t living = 0;
      for (std::uint32_t i = 0; i < endpoints_; ++i) {
        EndpointRecord& endpoint = next.endpoints[i];
        if ((operation.members >> i & 1) == 0) {
          living += endpoint.dead ? 0 : 1;
          continue;
        }
        const std::uint32_t version = endpoint.version + 1;
        endpoint = {version, endpoint.epoch, endpoint.owner, 0, false, true};
      }
      // One that marks all at once ends the move, if it knows of it.
      if (living == 0 && operation.move != 0 && move.active) move.active = false;
      return true;
    }
  }
  return false;
}

void SimDirectory::commit(const Operation& operation, Snapshot& next) {
  MoveRecord& move = next.moves[operation.move];
  move.active = false;
  for (std::uint32_t i = 0; i < endpoints_; ++i) {
    EndpointRecord& endpoint = next.endpoints[i];
    if (endpoint.dead) continue;
    endpoint = {endpoint.version + 1, endpoint.epoch + 1, operation.process, 0, false, false};
  }
  audit_.on_granted(operation.process, highest(plans_[operation.move].epochs, endpoints_) + 1);
}

void SimDirectory::abort(const Operation& operation, Snapshot& next) {
  MoveRecord& move = next.moves[operation.move];
  const bool raise = move.phase == Phase::moving && rules_.abort_raises_epoch;
  move.active = false;
  bool lives = false;
  for (std::uint32_t i = 0; i < endpoints_; ++i) {
    EndpointRecord& endpoint = next.endpoints[i];
    if (endpoint.dead) continue;
    lives = true;
    ++endpoint.version;
    endpoint.move = 0;
    endpoint.moving = false;
    if (raise) ++endpoint.epoch;
  }
  if (lives && raise) {
    const Plan& plan = plans_[operation.move];
    audit_.on_granted(plan.source, highest(plan.epochs, endpoints_) + 1);
  }
}

void SimDirectory::publish(const Snapshot& next) {
  history_.push_back(next);
}

migrate::Record SimDirectory::view(const Snapshot& snapshot, MoveId move) const {
  const MoveRecord& at = snapshot.moves[move];
  const Plan& plan = plans_[move];
  migrate::Record record;
  record.phase = at.active ? at.phase : Phase::ended;
  record.process = at.process;
  bool lives = false;
  std::int64_t risen = 0;
  for (std::uint32_t i = 0; i < endpoints_; ++i) {
    const EndpointRecord& endpoint = snapshot.endpoints[i];
    if (endpoint.dead) {
      record.torn = true;
      continue;
    }
    const std::int64_t rise = std::int64_t{endpoint.epoch} - std::int64_t{plan.epochs[i]};
    risen = lives ? std::max(risen, rise) : rise;
    lives = true;
    record.owner = endpoint.owner;
  }
  record.epoch =
      lives ? static_cast<Epoch>(highest(plan.epochs, endpoints_) + risen) : migrate::kOver;
  return record;
}

}  // namespace godwit::move_simulator
