// The part of SimProcess that serves clients.
#include <algorithm>

#include "process.h"
#include "world.h"

namespace godwit::move_simulator {

void SimProcess::serve(const Epochs& epochs) {
  holds_ = true;
  gate_ = true;
  epochs_ = epochs;
}

void SimProcess::on_request(const Message& message) {
  if (!holds_) return answer(Message::Type::moved, message.endpoint, message.client, 0);
  if (!gate_) return;
  Cell& cell = cells_[message.endpoint][message.client];
  if (cell.taken == kUnknown) cell.taken = message.number - 1;
  cell.completed &= ~((std::uint64_t{2} << message.known) - 1);
  if (message.number <= cell.taken) {
    const bool done = (cell.completed >> message.number & 1) != 0;
    return answer(Message::Type::reply, message.endpoint, message.client,
                  done ? message.number : 0);
  }
  if (message.type == Message::Type::probe) {
    return world_->audit().fail("a request that was acknowledged is not known any more");
  }
  for (const Waiting& waiting : inbox_) {
    if (waiting.endpoint == message.endpoint && waiting.client == message.client &&
        waiting.number == message.number) {
      return;
    }
  }
  inbox_.push_back({message.endpoint, message.client, message.number});
  wake();
}

void SimProcess::wake() {
  if (awake_ || inbox_.empty()) return;
  awake_ = true;
  world_->at(world_->random().below(6), What::take, static_cast<std::uint32_t>(id_));
}

void SimProcess::take() {
  awake_ = false;
  if (!gate_ || inbox_.empty()) return;
  const std::uint32_t start = world_->random().below(static_cast<std::uint32_t>(inbox_.size()));
  for (std::size_t i = 0; i < inbox_.size(); ++i) {
    const std::size_t place = (start + i) % inbox_.size();
    const Waiting request = inbox_[place];
    Cell& cell = cells_[request.endpoint][request.client];
    if (request.number > cell.taken + 1) continue;
    inbox_.erase(inbox_.begin() + static_cast<std::ptrdiff_t>(place));
    if (request.number <= cell.taken) return wake();
    world_->audit().on_executed(id_, request.endpoint, request.client, request.number);
    cell.taken = request.number;
    cell.effects |= std::uint64_t{1} << request.number;
    changed_ |= 1u << (request.endpoint * Weather::kMaxClients + request.client);
    running_.push_back(request);
    const bool slow = world_->random().chance(world_->weather().slow_handlers);
    const std::uint32_t time = slow ? world_->random().between(20, 150) : world_->random().below(8);
    world_->at(time, What::handled, static_cast<std::uint32_t>(id_), request.endpoint,
               request.client, request.number);
    if (world_->random().chance(60)) {
      answer(Message::Type::reply, request.endpoint, request.client, 0);
    }
    return wake();
  }
}

void SimProcess::handled(std::uint32_t endpoint, ClientId client, std::uint32_t number) {
  const auto found = std::find_if(running_.begin(), running_.end(), [&](const Waiting& running) {
    return running.endpoint == endpoint && running.client == client && running.number == number;
  });
  if (found == running_.end()) return;
  running_.erase(found);
  cells_[endpoint][client].completed |= std::uint64_t{1} << number;
  // Behind a shut gate the reply waits: it is asked for again, here or at the target.
  if (gate_) answer(Message::Type::reply, endpoint, client, number);
  check_quiet();
}

void SimProcess::answer(Message::Type type, std::uint32_t endpoint, ClientId client,
                        std::uint32_t number) {
  Message message;
  message.type = type;
  message.endpoint = endpoint;
  message.from = id_;
  message.number = number;
  message.epoch = epochs_[endpoint];
  const std::uint32_t taken = cells_[endpoint][client].taken;
  message.received = taken == kUnknown ? 0 : taken;
  world_->to_client(id_, client, message);
}

}  // namespace godwit::move_simulator
