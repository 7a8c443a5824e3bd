// The part of SimAgent that drives the machines of its moves.
#include <algorithm>

#include "agent.h"
#include "world.h"

namespace godwit::move_simulator {

using migrate::AgentAction;
using migrate::AgentActions;
using migrate::Push;
using migrate::Report;
using migrate::Write;

SimAgent::Part* SimAgent::find(MoveId move, Role role) {
  for (Part& part : parts_) {
    if (part.move == move && part.role == role && !part.finished) return &part;
  }
  return nullptr;
}

SimAgent::Part& SimAgent::part(MoveId move, Role role) {
  if (Part* part = find(move, role)) return *part;
  Part part;
  part.move = move;
  part.role = role;
  const migrate::Time now = world_->time();
  if (role == Role::source) {
    part.source.emplace(world_->directory().plan(move).source, limits_of_schedule(), now);
  } else if (role == Role::target) {
    part.target.emplace(limits_of_schedule(), now);
  }
  parts_.push_back(part);
  return parts_.back();
}

void SimAgent::feed(Part& part) {
  if (part.finished || part.role == Role::sweeper || !read_) return;
  const migrate::Time now = world_->time();
  const migrate::Record record = view(part.move);
  const Snapshot& snapshot = world_->directory().at(seen_);
  const Plan& plan = world_->directory().plan(part.move);
  if (part.source) {
    perform(part, part.source->on_record(record, now));
    const NodeRecord& target = snapshot.nodes[plan.target];
    if (!target.present || target.incarnation != plan.target_incarnation) {
      perform(part, part.source->on_target_lost(now));
    }
    if (std::find(lost_.begin(), lost_.end(), plan.source) != lost_.end()) {
      perform(part, part.source->on_process_lost(now));
    }
    return;
  }
  if (incarnation_ != plan.target_incarnation) perform(part, part.target->on_fenced(now));
  perform(part, part.target->on_record(record, now));
  if (std::find(lost_.begin(), lost_.end(), part.target->process()) != lost_.end()) {
    perform(part, part.target->on_process_lost(part.target->process(), now));
  }
}

void SimAgent::perform(Part& part, const AgentActions& actions) {
  for (const AgentAction& action : actions) {
    switch (action.kind) {
      case AgentAction::Kind::write:
        write(part, action);
        break;
      case AgentAction::Kind::push:
        push(part.move, action.push, action.epoch, action.process);
        break;
      case AgentAction::Kind::start:
        find_process(part);
        break;
      case AgentAction::Kind::finished:
        part.finished = true;
        break;
    }
  }
}

void SimAgent::write(Part& part, const AgentAction& action) {
  Operation operation = prepare(Operation::Kind::abort, part.move);
  switch (action.write) {
    case Write::prepared:
      operation.kind = Operation::Kind::prepared;
      operation.process = action.process;
      break;
    case Write::intent:
      operation.kind = Operation::Kind::intent;
      if (!world_->rules().intent_before_close) {
        push(part.move, Push::close, 0, part.source->process());
      }
      break;
    case Write::commit:
      operation.kind = Operation::Kind::commit;
      operation.process = part.target->process();
      break;
    default:
      if (!world_->rules().resume_by_record && part.source) {
        push(part.move, Push::resume, world_->group_epoch(part.move) + 1, part.source->process());
      }
      break;
  }
  world_->log("agent %u: move %u: writes %s (%s)", node_, part.move, to_string(action.write),
              to_string(action.reason));
  part.write = action.write;
  part.operation = world_->add(operation);
  issue(part.operation);
}

void SimAgent::push(MoveId move, Push push, migrate::Epoch epoch, ProcessId process) {
  Message message;
  message.type = Message::Type::push;
  message.move = move;
  message.push = push;
  message.epoch = epoch;
  world_->to_process(node_, process, message);
}

void SimAgent::find_process(Part& part) {
  const std::uint32_t choice = world_->random().below(100);
  if (choice < 3) return perform(part, part.target->on_start_failed(world_->time()));
  if (choice < 60) {
    for (ProcessId id = 1; id <= world_->processes(); ++id) {
      const SimProcess& process = world_->process(id);
      if (process.node() != node_ || !process.attached() || !process.idle()) continue;
      return perform(
          part, part.target->on_report(id, Report::over, migrate::Reason::none, world_->time()));
    }
  }
  world_->at_agent(world_->random().between(3, 20), What::spawned, node_, part.move);
}

void SimAgent::on_message(const Message& message) {
  if (message.link != world_->process(message.from).link()) return;
  if (std::find(lost_.begin(), lost_.end(), message.from) != lost_.end()) return;
  if (message.type == Message::Type::hello) return on_hello(message);
  const Plan& plan = world_->directory().plan(message.move);
  const bool outgoing = message.other_move == 0;
  const Role role = outgoing ? Role::source : Role::target;
  Part* at = find(message.move, role);
  const bool made = at == nullptr;
  if (made && message.report == Report::over) return;
  if (made) at = &part(message.move, role);
  const migrate::Time now = world_->time();
  if (at->source) {
    if (plan.source == message.from) {
      perform(*at, at->source->on_report(message.report, message.reason, now));
    }
  } else {
    perform(*at, at->target->on_report(message.from, message.report, message.reason, now));
  }
  // Made for a process that spoke first: it hears of the record second, or it would be done with a
  // move that has ended before it knows of anybody to tell.
  if (made) feed(*at);
}

void SimAgent::on_hello(const Message& message) {
  const migrate::Time now = world_->time();
  bool idle = message.bits != 0;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (part.finished) continue;
    if (part.source && part.source->process() == message.from && message.move != part.move) {
      perform(part, part.source->on_report(Report::over, migrate::Reason::none, now));
    }
    if (!part.target || message.other_move == part.move) continue;
    const bool wanted = part.target->process() == 0 && idle;
    if (!wanted && part.target->process() != message.from) continue;
    if (wanted) idle = false;
    perform(part, part.target->on_report(message.from, Report::over, migrate::Reason::none, now));
  }
}

void SimAgent::on_lost(ProcessId process) {
  lost_.push_back(process);
  const migrate::Time now = world_->time();
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (part.finished) continue;
    if (part.source && part.source->process() == process) {
      perform(part, part.source->on_process_lost(now));
    }
    if (part.target) perform(part, part.target->on_process_lost(process, now));
  }
  bury_lost();
}

void SimAgent::on_timer() {
  timer_ = 0;
  const migrate::Time now = world_->time();
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (part.finished) continue;
    if (part.source) perform(part, part.source->on_time(now));
    if (part.target) perform(part, part.target->on_time(now));
  }
}

void SimAgent::set_timer() {
  migrate::Time next = migrate::kNever;
  for (const Part& part : parts_) {
    if (part.source) next = std::min(next, part.source->deadline());
    if (part.target) next = std::min(next, part.target->deadline());
  }
  if (next == migrate::kNever) return;
  const std::uint64_t tick = std::max(tick_of(next), world_->now());
  if (timer_ != 0 && timer_ <= tick) return;
  timer_ = tick;
  world_->at_agent(static_cast<std::uint32_t>(tick - world_->now()), What::agent_timer, node_);
}

void SimAgent::erase_finished() {
  std::erase_if(parts_, [](const Part& part) { return part.finished; });
}

}  // namespace godwit::move_simulator
