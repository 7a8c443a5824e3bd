#include "world.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <functional>

namespace godwit::move_simulator {

namespace {

constexpr std::uint64_t kMaxSteps = 40'000;

bool is_of_agent(What what) {
  return what <= What::judge_this;
}
bool is_of_process(What what) {
  return what >= What::attach && what <= What::broken;
}
bool is_of_client(What what) {
  return what >= What::client_message && what <= What::lookup_answer;
}

}  // namespace

World::World(std::uint64_t seed, const Rules& rules, bool verbose)
    : random_(seed),
      weather_(random_),
      rules_(rules),
      verbose_(verbose),
      directory_(rules, audit_, weather_.endpoints) {
  queue_.reserve(256);
  std::array<migrate::Epoch, Weather::kMaxEndpoints> epochs{};
  for (std::uint32_t i = 0; i < weather_.endpoints; ++i) epochs[i] = random_.between(1, 3);
  for (NodeId node = 0; node < weather_.nodes; ++node) {
    joined_[node] = true;
    for (NodeId other = 0; other < weather_.nodes; ++other) linked_[node][other] = true;
    agents_.push_back(std::make_unique<SimAgent>(*this, node));
    start_process(node);
  }
  process(1).serve(epochs);
  directory_.begin(1, epochs);
  for (NodeId node = 0; node < weather_.nodes; ++node) {
    reached_[node] = true;
    agent(node).start();
  }
  for (ClientId id = 0; id < weather_.clients; ++id) {
    const NodeId node = random_.below(weather_.nodes);
    clients_.push_back(std::make_unique<SimClient>(*this, id, node, 1, epochs));
  }
  schedule_faults();
}

std::string World::run() {
  while (!queue_.empty() && !audit_.failed()) {
    std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
    const Event event = queue_.back();
    queue_.pop_back();
    now_ = event.time;
    if (now_ > kRest || ++numbers_.steps > kMaxSteps) break;
    if (verbose_) trace(event);
    dispatch(event);
  }
  if (!audit_.failed()) check_rest();
  numbers_.calls = audit_.executed();
  return audit_.failure();
}

void World::at(std::uint32_t delay, What what, std::uint32_t a, std::uint32_t b, std::uint32_t c,
               std::uint32_t d) {
  queue_.push_back({now_ + delay, order_++, what, a, b, c, d, 0});
  std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
}

void World::at_agent(std::uint32_t delay, What what, NodeId node, std::uint32_t b) {
  queue_.push_back({now_ + delay, order_++, what, node, b, 0, 0, agent(node).incarnation()});
  std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
}

void World::dispatch(const Event& event) {
  if (is_of_agent(event.what)) {
    SimAgent& agent = *agents_[event.a];
    if (!agent.alive || event.incarnation != agent.incarnation()) return drop(event);
    // An answer is lost with the way that it comes on.
    const bool answer = event.what == What::answer || event.what == What::read_answer;
    if (answer && (!joined_[event.a] || !up_)) return;
    return deliver(agent, event);
  }
  if (is_of_process(event.what)) return deliver(*processes_[event.a - 1], event);
  if (is_of_client(event.what)) return deliver(*clients_[event.a], event);
  handle(event);
}

void World::deliver(Party& party, const Event& event) {
  if (!party.alive) return drop(event);
  if (party.paused) {
    party.backlog.push_back(event);
    return;
  }
  if (is_of_agent(event.what)) {
    agents_[event.a]->handle(event);
  } else if (is_of_process(event.what)) {
    processes_[event.a - 1]->handle(event);
  } else {
    clients_[event.a]->handle(event);
  }
}

void World::drop(const Event& event) {
  const bool carries = event.what == What::agent_message || event.what == What::process_message ||
                       event.what == What::client_message;
  if (carries) message(event.b);
}

// --- messages

std::uint32_t World::post(const Message& message) {
  if (free_messages_.empty()) {
    messages_.push_back(message);
    return static_cast<std::uint32_t>(messages_.size() - 1);
  }
  const std::uint32_t index = free_messages_.back();
  free_messages_.pop_back();
  messages_[index] = message;
  return index;
}

Message World::message(std::uint32_t index) {
  free_messages_.push_back(index);
  return messages_[index];
}

void World::to_agent(ProcessId from, Message message) {
  SimProcess& sender = process(from);
  const SimAgent& receiver = agent(sender.node());
  if (!sender.attached() || !receiver.alive) return;
  message.from = from;
  message.link = sender.link();
  sender.last_to_agent = std::max(sender.last_to_agent, now_ + random_.between(1, 2));
  at_agent(static_cast<std::uint32_t>(sender.last_to_agent - now_), What::agent_message,
           sender.node(), post(message));
}

void World::to_process(NodeId from, ProcessId to, Message message) {
  if (to == 0 || to > processes() || process(to).node() != from) return;
  SimProcess& receiver = process(to);
  if (!receiver.alive || !receiver.attached()) return;
  message.link = receiver.link();
  receiver.last_to_here = std::max(receiver.last_to_here, now_ + random_.between(1, 2));
  at(static_cast<std::uint32_t>(receiver.last_to_here - now_), What::process_message,
     static_cast<std::uint32_t>(to), post(message));
}

void World::to_dock(ProcessId from, ProcessId dock, Message message) {
  SimProcess& sender = process(from);
  if (dock == 0 || !linked_[sender.node()][process(dock).node()]) return;
  message.from = from;
  sender.last_to_dock = std::max(sender.last_to_dock, now_ + delay());
  at(static_cast<std::uint32_t>(sender.last_to_dock - now_), What::process_message,
     static_cast<std::uint32_t>(dock), post(message));
}

void World::to_server(ClientId from, ProcessId to, const Message& message) {
  if (!linked_[clients_[from]->node()][process(to).node()]) return;
  at(delay(), What::process_message, static_cast<std::uint32_t>(to), post(message));
}

void World::to_client(ProcessId from, ClientId to, const Message& message) {
  if (!linked_[process(from).node()][clients_[to]->node()]) return;
  at(delay(), What::client_message, to, post(message));
}

// --- what the parts ask

std::uint32_t World::write_delay() {
  if (!calm_ && random_.chance(weather_.late_writes)) return random_.between(20, 150);
  return delay();
}

ProcessId World::start_process(NodeId node) {
  processes_.push_back(std::make_unique<SimProcess>(*this, processes() + 1, node));
  return processes();
}

bool World::reaches(NodeId node) const {
  return agents_[node]->runs() && joined_[node] && up_;
}

std::uint32_t World::add(const Operation& operation) {
  operations_.push_back(operation);
  return static_cast<std::uint32_t>(operations_.size() - 1);
}

migrate::Epoch World::group_epoch(MoveId move) const {
  const auto& epochs = directory_.plan(move).epochs;
  return *std::max_element(epochs.begin(), epochs.begin() + weather_.endpoints);
}

std::uint32_t World::members_of(std::uint32_t revision, ProcessId process) const {
  std::uint32_t members = 0;
  const Snapshot& snapshot = directory_.at(revision);
  for (std::uint32_t i = 0; i < weather_.endpoints; ++i) {
    const EndpointRecord& endpoint = snapshot.endpoints[i];
    if (!endpoint.dead && endpoint.owner == process) members |= 1u << i;
  }
  return members;
}

std::uint32_t World::open_gates() const {
  std::uint32_t count = 0;
  for (const auto& process : processes_) count += process->gate_open() ? 1 : 0;
  return count;
}

// --- what must hold in the end

void World::check_rest() {
  check_moves_are_over();
  check_group_serves();
  for (const auto& client : clients_) {
    if (client->alive && client->waits()) audit_.fail("a call never completed");
  }
  if (!queue_.empty()) audit_.fail("the world does not come to rest");
}

void World::check_moves_are_over() {
  for (MoveId move = 1; move <= kMaxMoves; ++move) {
    if (directory_.now().moves[move].active) {
      audit_.fail("move " + std::to_string(move) + " does not end");
    }
  }
  for (const auto& process : processes_) {
    if (process->alive && process->moving()) {
      audit_.fail("process " + std::to_string(process->id()) + " is left behind in a move");
    }
  }
  for (const auto& agent : agents_) {
    if (agent->alive && !agent->idle()) {
      audit_.fail("agent " + std::to_string(agent->node()) + " does not finish a move");
    }
  }
}

void World::check_group_serves() {
  bool died = false;
  for (std::uint32_t i = 0; i < weather_.endpoints; ++i) {
    const EndpointRecord& endpoint = directory_.now().endpoints[i];
    died = died || endpoint.dead;
    if (endpoint.dead) continue;
    const SimProcess& owner = process(endpoint.owner);
    const std::string who = "endpoint " + std::to_string(i);
    if (endpoint.move != 0) audit_.fail(who + " still names a move");
    if (!owner.alive) audit_.fail(who + " is a dead process's");
    if (!owner.gate_open()) audit_.fail(who + " is not served");
    if (owner.epoch(i) != endpoint.epoch) audit_.fail(who + " is served at an old epoch");
  }
  numbers_.deaths = died ? 1 : 0;
}

// --- tracing

void World::print(const char* format, ...) const {
  va_list arguments;
  va_start(arguments, format);
  std::printf("%6llu   ", static_cast<unsigned long long>(now_));
  std::vprintf(format, arguments);
  std::printf("\n");
  va_end(arguments);
}

}  // namespace godwit::move_simulator
