#include "agent.h"

#include <algorithm>

#include "world.h"

namespace godwit::move_simulator {

using migrate::AgentAction;
using migrate::AgentActions;
using migrate::Push;
using migrate::Report;
using migrate::Write;

bool SimAgent::enrolled() const {
  const NodeRecord& record = world_->directory().now().nodes[node_];
  return record.present && record.incarnation == incarnation_;
}

void SimAgent::start() {
  alive = true;
  paused = false;
  ++incarnation_;
  seen_ = 0;
  read_ = !world_->rules().first_reading_fresh;
  on_reach();
  for (ProcessId id = 1; id <= world_->processes(); ++id) {
    const SimProcess& process = world_->process(id);
    if (process.node() != node_) continue;
    if (process.alive) {
      world_->at(world_->random().between(1, 25), What::attach, static_cast<std::uint32_t>(id),
                 incarnation_);
    } else {
      world_->at_agent(30, What::process_lost, node_, static_cast<std::uint32_t>(id));
    }
  }
}

void SimAgent::crash() {
  alive = false;
  paused = false;
  backlog.clear();
  parts_.clear();
  pending_.clear();
  lost_.clear();
  burying_ = false;
  looking_ = false;
  timer_ = 0;
}

void SimAgent::on_reach() {
  if (!runs()) return;
  looking_ = false;  // the answer may have been lost
  if (!enrolled()) {
    Operation operation;
    operation.kind = Operation::Kind::enroll;
    operation.node = node_;
    operation.incarnation = incarnation_;
    issue(world_->add(operation));
  }
  look();
}

void SimAgent::handle(const Event& event) {
  switch (event.what) {
    case What::read_answer:
      looking_ = false;
      absorb(event.b);
      // A reading that was behind is followed by another: its watch is called.
      if (event.b < world_->directory().revision()) look();
      break;
    case What::answer:
      answered(event.b, event.c, event.d != 0);
      break;
    case What::retry:
      retry(event.b);
      break;
    case What::look:
      look();
      break;
    case What::agent_timer:
      on_timer();
      break;
    case What::agent_message:
      on_message(world_->message(event.b));
      break;
    case What::process_lost:
      on_lost(event.b);
      break;
    case What::spawned:
      world_->at(world_->random().between(1, 5), What::attach,
                 static_cast<std::uint32_t>(world_->start_process(node_)), incarnation_);
      break;
    case What::plan:
      plan(event.b);
      break;
    case What::judge_this:
      judge(event.b);
      break;
    default:
      break;
  }
  erase_finished();
  set_timer();
}

// --- the directory

void SimAgent::look() {
  if (looking_ || !world_->reaches(node_)) return;
  looking_ = true;
  world_->at(world_->delay(), What::read, node_, incarnation_);
}

void SimAgent::absorb(std::uint32_t revision) {
  if (revision < seen_) return;
  seen_ = revision;
  read_ = true;
  const Snapshot& snapshot = world_->directory().at(seen_);
  for (MoveId move = 1; move <= kMaxMoves; ++move) {
    if (!snapshot.moves[move].active) continue;
    const Plan& plan = world_->directory().plan(move);
    if (plan.source_node == node_) part(move, Role::source);
    if (plan.target == node_) part(move, Role::target);
  }
  for (std::size_t i = 0; i < parts_.size(); ++i) feed(parts_[i]);
  bury_lost();
  sweep();
}

migrate::Record SimAgent::view(MoveId move) const {
  return world_->directory().view(world_->directory().at(seen_), move);
}

Operation SimAgent::prepare(Operation::Kind kind, MoveId move) const {
  const Snapshot& snapshot = world_->directory().at(seen_);
  Operation operation;
  operation.kind = kind;
  operation.node = node_;
  operation.incarnation = incarnation_;
  operation.move = move;
  operation.move_version = snapshot.moves[move].version;
  operation.process = snapshot.moves[move].process;
  for (std::uint32_t i = 0; i < world_->directory().endpoints(); ++i) {
    operation.versions[i] = snapshot.endpoints[i].version;
  }
  return operation;
}

void SimAgent::issue(std::uint32_t operation) {
  pending_.push_back(operation);
  retry(operation);
}

void SimAgent::retry(std::uint32_t operation) {
  if (std::find(pending_.begin(), pending_.end(), operation) == pending_.end()) return;
  if (world_->reaches(node_)) {
    world_->at(world_->write_delay(), What::operation, node_, operation, incarnation_);
  }
  world_->at_agent(40, What::retry, node_, operation);
  if (world_->rules().outcome_awaited) return;
  // The fault: what was issued again is taken for written.
  for (Part& part : parts_) {
    if (part.operation != operation || part.write != Write::commit) continue;
    if (part.finished || world_->operation(operation).issued++ == 0) continue;
    part.operation = kNone;
    std::erase(pending_, operation);
    settle(part, true);
    return;
  }
}

void SimAgent::answered(std::uint32_t operation, std::uint32_t revision, bool happened) {
  const auto found = std::find(pending_.begin(), pending_.end(), operation);
  if (found == pending_.end()) return;  // answered before, by another issue
  pending_.erase(found);
  const Operation::Kind kind = world_->operation(operation).kind;
  if (kind == Operation::Kind::dead) burying_ = false;
  absorb(revision);
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].operation != operation) continue;
    parts_[i].operation = kNone;
    settle(parts_[i], happened);
    break;
  }
  if (kind == Operation::Kind::dead) bury_lost();
}

void SimAgent::settle(Part& part, bool happened) {
  migrate::Record record = view(part.move);
  if (part.write == Write::commit) {
    const bool believed = !world_->rules().outcome_awaited && happened;
    if (believed || (!happened && !world_->rules().lost_commit_stays_shut)) {
      record.phase = migrate::Phase::ended;
      record.owner = part.target->process();
      record.epoch = world_->group_epoch(part.move) + 1;
    }
  }
  part.write = Write::none;
  const migrate::Time now = world_->time();
  if (part.source) return perform(part, part.source->on_settled(record, now));
  if (part.target) return perform(part, part.target->on_settled(record, now));
  part.finished = true;
  if (!happened) look();
}

// --- the rest

void SimAgent::plan(MoveId move) {
  if (!read_) return;
  const Snapshot& snapshot = world_->directory().at(seen_);
  Operation operation = prepare(Operation::Kind::plan, move);
  for (std::uint32_t i = 0; i < world_->directory().endpoints(); ++i) {
    const EndpointRecord& endpoint = snapshot.endpoints[i];
    if (endpoint.dead || endpoint.move != 0) return;
    operation.plan.source = endpoint.owner;
    operation.plan.epochs[i] = endpoint.epoch;
  }
  operation.plan.source_node = world_->process(operation.plan.source).node();
  operation.plan.target = world_->random().below(world_->weather().nodes);
  const NodeRecord& target = snapshot.nodes[operation.plan.target];
  if (!target.present) return;
  operation.plan.target_incarnation = target.incarnation;
  issue(world_->add(operation));
}

void SimAgent::bury(std::uint32_t members, ProcessId owner) {
  if (burying_ || members == 0 || !read_) return;
  const Snapshot& snapshot = world_->directory().at(seen_);
  MoveId move = 0;
  for (std::uint32_t i = 0; i < world_->directory().endpoints(); ++i) {
    if ((members >> i & 1) != 0) move = snapshot.endpoints[i].move;
  }
  Operation operation = prepare(Operation::Kind::dead, move);
  operation.members = members;
  if (world_->weather().single_marks) {
    operation.members = members & (~members + 1);
    operation.move = 0;
  }
  operation.process = owner;
  burying_ = true;
  issue(world_->add(operation));
}

void SimAgent::bury_lost() {
  for (const ProcessId process : lost_) bury(world_->members_of(seen_, process), process);
}

void SimAgent::sweep() {
  if (!world_->rules().dead_move_swept) return;
  const Snapshot& snapshot = world_->directory().at(seen_);
  for (MoveId move = 1; move <= kMaxMoves; ++move) {
    if (!snapshot.moves[move].active || find(move, Role::sweeper) != nullptr) continue;
    const Plan& plan = world_->directory().plan(move);
    const bool left =
        snapshot.nodes[plan.source_node].present || snapshot.nodes[plan.target].present;
    if (left || view(move).epoch != migrate::kOver) continue;
    Part& swept = part(move, Role::sweeper);
    swept.operation = world_->add(prepare(Operation::Kind::abort, move));
    issue(swept.operation);
  }
}

void SimAgent::judge(NodeId node) {
  const Snapshot& snapshot = world_->directory().at(seen_);
  if (snapshot.nodes[node].present) return;
  for (std::uint32_t i = 0; i < world_->directory().endpoints(); ++i) {
    const EndpointRecord& endpoint = snapshot.endpoints[i];
    if (endpoint.dead || world_->process(endpoint.owner).node() != node) continue;
    bury(world_->members_of(seen_, endpoint.owner), endpoint.owner);
    return;
  }
}

}  // namespace godwit::move_simulator
