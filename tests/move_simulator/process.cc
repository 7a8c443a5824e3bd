#include "process.h"

#include <algorithm>
#include <bit>

#include "world.h"

namespace godwit::move_simulator {

using migrate::ProcessAction;
using migrate::ProcessActions;
using migrate::Push;
using migrate::Reason;
using migrate::Report;

migrate::Epoch SimProcess::group_epoch() const {
  return *std::max_element(epochs_.begin(), epochs_.begin() + world_->weather().endpoints);
}

bool SimProcess::moving() const noexcept {
  return (source_ && source_->state() != migrate::SourceProcess::State::serving &&
          !source_->over()) ||
         (target_ && !target_->over());
}

void SimProcess::attach() {
  attached_ = true;
  ++link_;
  Message hello;
  hello.type = Message::Type::hello;
  hello.bits = idle() ? 1 : 0;
  const bool out = source_ && !source_->over();
  const bool in = target_ && !target_->over();
  if (out) hello.move = source_move_;
  if (in) hello.other_move = target_move_;
  world_->to_agent(id_, hello);
  if (!world_->rules().told_again) return;
  if (out) report(source_move_, true, source_->report(), source_->reason());
  if (in) report(target_move_, false, target_->report(), target_->reason());
}

void SimProcess::kill() {
  alive = false;
  paused = false;
  attached_ = false;
  gate_ = false;
  backlog.clear();
}

void SimProcess::handle(const Event& event) {
  switch (event.what) {
    case What::process_message: {
      const Message message = world_->message(event.b);
      switch (message.type) {
        case Message::Type::push:
          return on_push(message);
        case Message::Type::chunk:
        case Message::Type::image:
        case Message::Type::manifest:
          return on_state(message);
        default:
          return on_request(message);
      }
    }
    case What::attach: {
      const SimAgent& agent = world_->agent(node_);
      if (agent.alive && agent.incarnation() == event.b) attach();
      return;
    }
    case What::take:
      return take();
    case What::handled:
      return handled(event.b, event.c, event.d);
    case What::round:
      if (source_ && source_move_ == event.b) {
        perform(source_move_, true, source_->on_round(std::popcount(changed_) <= 1));
      }
      return;
    case What::quiet:
      // Looked at again: it may have been told to go on in the meantime.
      if (source_ && source_move_ == event.b) check_quiet();
      return;
    case What::sent:
      if (source_ && source_move_ == event.b) perform(source_move_, true, source_->on_sent());
      return;
    case What::docked:
      if (!target_ || target_move_ != event.b) return;
      return perform(target_move_, false,
                     world_->random().chance(3) ? target_->on_failed(Reason::start_failed)
                                                : target_->on_docked());
    case What::process_timer:
      if (source_) perform(source_move_, true, source_->on_time(world_->time()));
      return;
    case What::broken:
      if (source_ && dock_ == event.b) {
        perform(source_move_, true, source_->on_failed(Reason::transfer_failed));
      }
      if (target_ && world_->directory().plan(target_move_).source == event.b) {
        perform(target_move_, false, target_->on_failed(Reason::transfer_failed));
      }
      return;
    default:
      return;
  }
}

// --- moves

void SimProcess::on_push(const Message& message) {
  if (message.link != link_) return;
  switch (message.push) {
    case Push::out:
    case Push::close:
    case Push::resume:
    case Push::gone:
      return on_source_push(message);
    default:
      return on_target_push(message);
  }
}

void SimProcess::on_source_push(const Message& message) {
  if (!source_ || (source_move_ != message.move && world_->rules().push_names_move)) {
    if (message.push == Push::resume || message.push == Push::gone) {
      return report(message.move, true, Report::over, Reason::none);
    }
    if (message.push == Push::close) {
      return report(message.move, true, Report::cannot, Reason::not_in_move);
    }
    if (!gate_ || moving()) return report(message.move, true, Report::cannot, Reason::busy);
    source_.emplace(group_epoch(), limits_of_schedule());
    source_move_ = message.move;
    dock_ = world_->directory().now().moves[message.move].process;
    changed_ = ~0u;
  }
  const ProcessActions actions = source_->on_push(message.push, message.epoch, world_->time());
  perform(source_move_, true, actions);
}

void SimProcess::on_target_push(const Message& message) {
  if (!target_ || (target_move_ != message.move && world_->rules().push_names_move)) {
    if (message.push != Push::in) {
      return report(message.move, false, Report::over, Reason::none);
    }
    if (holds_ || moving()) return report(message.move, false, Report::cannot, Reason::busy);
    target_.emplace();
    target_move_ = message.move;
  }
  perform(target_move_, false, target_->on_push(message.push, message.epoch));
}

void SimProcess::perform(MoveId move, bool outgoing, const ProcessActions& actions) {
  const auto self = static_cast<std::uint32_t>(id_);
  for (const ProcessAction& action : actions) {
    switch (action.kind) {
      case ProcessAction::Kind::copy:
        copy();
        break;
      case ProcessAction::Kind::stop_copy:
        dock_ = 0;
        break;
      case ProcessAction::Kind::shut_gate:
        shut_gate();
        break;
      case ProcessAction::Kind::send_rest:
        send_rest();
        break;
      case ProcessAction::Kind::park:
        break;
      case ProcessAction::Kind::open_gate:
        open_gate(action.epoch);
        break;
      case ProcessAction::Kind::leave:
        gate_ = false;
        holds_ = false;
        running_.clear();
        inbox_.clear();
        break;
      case ProcessAction::Kind::bind_dock:
        world_->at(world_->random().between(1, 10), What::docked, self, move);
        break;
      case ProcessAction::Kind::install:
        install();
        break;
      case ProcessAction::Kind::forget:
        forget();
        break;
      case ProcessAction::Kind::report:
        report(move, outgoing, action.report, action.reason);
        break;
    }
  }
}

void SimProcess::report(MoveId move, bool outgoing, Report report, Reason reason) {
  Message message;
  message.type = Message::Type::report;
  message.move = move;
  message.other_move = outgoing ? 0 : 1;
  message.report = report;
  message.reason = reason;
  world_->to_agent(id_, message);
}

void SimProcess::copy() {
  send_changes();
  const bool waits = source_->state() == migrate::SourceProcess::State::converged;
  world_->at(waits ? 10 : world_->random().between(2, 8), What::round,
             static_cast<std::uint32_t>(id_), source_move_);
}

void SimProcess::send_changes() {
  for (std::uint32_t endpoint = 0; endpoint < world_->weather().endpoints; ++endpoint) {
    for (ClientId client = 0; client < world_->weather().clients; ++client) {
      if ((changed_ >> (endpoint * Weather::kMaxClients + client) & 1) == 0) continue;
      Message chunk;
      chunk.type = Message::Type::chunk;
      chunk.move = source_move_;
      chunk.endpoint = endpoint;
      chunk.client = client;
      chunk.bits = cells_[endpoint][client].effects;
      world_->to_dock(id_, dock_, chunk);
    }
  }
  changed_ = 0;
}

void SimProcess::send_rest() {
  send_changes();
  for (std::uint32_t endpoint = 0; endpoint < world_->weather().endpoints; ++endpoint) {
    for (ClientId client = 0; client < world_->weather().clients; ++client) {
      const Cell& cell = cells_[endpoint][client];
      Message image;
      image.type = Message::Type::image;
      image.move = source_move_;
      image.endpoint = endpoint;
      image.client = client;
      image.number = cell.taken;
      image.bits = cell.completed;
      world_->to_dock(id_, dock_, image);
    }
  }
  Message manifest;
  manifest.type = Message::Type::manifest;
  manifest.move = source_move_;
  manifest.epochs = epochs_;
  manifest.epoch = group_epoch();
  manifest.bits = hash(cells_);
  world_->to_dock(id_, dock_, manifest);
  world_->at(1, What::sent, static_cast<std::uint32_t>(id_), source_move_);
}

std::uint64_t SimProcess::hash(const Cells& cells) const {
  std::uint64_t sum = 0xcbf29ce484222325u;
  for (const auto& endpoint : cells) {
    for (const Cell& cell : endpoint) {
      for (const std::uint64_t part : {std::uint64_t{cell.taken}, cell.effects, cell.completed}) {
        sum = (sum ^ part) * 0x9E3779B97F4A7C15u;
        sum ^= sum >> 29;
      }
    }
  }
  return sum;
}

void SimProcess::on_state(const Message& message) {
  if (!target_ || target_move_ != message.move ||
      target_->state() != migrate::TargetProcess::State::docked) {
    return;
  }
  Cell& cell = staged_[message.endpoint][message.client];
  if (message.type == Message::Type::chunk) {
    cell.effects = message.bits;
  } else if (message.type == Message::Type::image) {
    cell.taken = message.number;
    cell.completed = message.bits;
  } else {
    staged_epochs_ = message.epochs;
    const bool whole = !world_->rules().manifest_checked || hash(staged_) == message.bits;
    perform(target_move_, false, target_->on_manifest(whole, message.epoch));
  }
}

void SimProcess::install() {
  holds_ = true;
  cells_ = staged_;
  epochs_ = staged_epochs_;
  running_.clear();
  inbox_.clear();
  if (!world_->rules().completions_move) {
    for (auto& endpoint : cells_) {
      for (Cell& cell : endpoint) {
        if (cell.taken != 0) cell.taken = kUnknown;
        cell.completed = 0;
      }
    }
  }
  if (!world_->rules().grant_before_gate) open_gate(group_epoch() + 1);
}

void SimProcess::forget() {
  staged_ = {};
  if (!gate_) holds_ = false;
}

void SimProcess::open_gate(migrate::Epoch epoch) {
  const migrate::Epoch risen = epoch - group_epoch();
  for (std::uint32_t i = 0; i < world_->weather().endpoints; ++i) epochs_[i] += risen;
  world_->log("process %llu opens its gate at epoch %u", static_cast<unsigned long long>(id_),
              epoch);
  if (!gate_) world_->audit().on_gate_opened(id_, epoch, cells_, world_->open_gates());
  gate_ = true;
  for (std::uint32_t endpoint = 0; endpoint < world_->weather().endpoints; ++endpoint) {
    for (ClientId client = 0; client < world_->weather().clients; ++client) {
      answer(Message::Type::attach, endpoint, client, 0);
    }
  }
}

void SimProcess::shut_gate() {
  gate_ = false;
  if (!world_->rules().inbox_unacknowledged) {
    for (const Waiting& waiting : inbox_) {
      Cell& cell = cells_[waiting.endpoint][waiting.client];
      const std::uint32_t taken = cell.taken;
      cell.taken = waiting.number;
      answer(Message::Type::reply, waiting.endpoint, waiting.client, 0);
      cell.taken = taken;
    }
  }
  inbox_.clear();
  const std::uint64_t wait = tick_of(source_->deadline()) - world_->now();
  world_->at(static_cast<std::uint32_t>(wait), What::process_timer,
             static_cast<std::uint32_t>(id_));
  world_->at(0, What::quiet, static_cast<std::uint32_t>(id_), source_move_);
}

void SimProcess::check_quiet() {
  if (!source_ || source_->state() != migrate::SourceProcess::State::closing) return;
  if (!running_.empty() && world_->rules().quiet_awaited) return;
  perform(source_move_, true, source_->on_quiet());
}

}  // namespace godwit::move_simulator
