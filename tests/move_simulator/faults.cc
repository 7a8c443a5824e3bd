// The part of World that lets things go wrong, and the directory's side of the network.
#include <algorithm>

#include "world.h"

namespace godwit::move_simulator {

void World::handle(const Event& event) {
  switch (event.what) {
    case What::read:
      return read(event);
    case What::operation:
      return write(event);
    case What::lookup:
      return look_up(event);
    case What::expire:
      return expire(event);
    case What::judge:
      return judge(event.a);
    case What::wake:
      if (event.b == 0) return wake(*agents_[event.a]);
      if (event.b == 1) return wake(process(event.a));
      return wake(*clients_[event.a]);
    case What::restart:
      if (agents_[event.a]->alive || lost_[event.a]) return;
      agents_[event.a]->alive = true;
      if (!calm_ && random_.chance(30)) {
        // A host may come back before its network does.
        joined_[event.a] = false;
        at(random_.between(5, 200), What::join, event.a);
      }
      reached_[event.a] = reaches(event.a);
      ++silence_[event.a];
      if (!reached_[event.a]) at(Weather::kSession, What::expire, event.a, silence_[event.a]);
      return agents_[event.a]->start();
    case What::heal:
      linked_[event.a][event.b] = true;
      return;
    case What::join:
      joined_[event.a] = true;
      return update_reach(event.a);
    case What::restore:
      up_ = true;
      for (NodeId node = 0; node < weather_.nodes; ++node) update_reach(node);
      return;
    case What::process_crash:
      return crash_process(some_process());
    case What::agent_crash:
      return crash_agent(some_node());
    case What::pause:
      return pause();
    case What::cut:
      return cut();
    case What::partition: {
      const NodeId node = some_node();
      joined_[node] = false;
      at(random_.between(5, 200), What::join, node);
      return update_reach(node);
    }
    case What::outage:
      up_ = false;
      at(random_.between(5, 120), What::restore);
      for (NodeId node = 0; node < weather_.nodes; ++node) update_reach(node);
      return;
    case What::node_loss:
      return lose_node();
    case What::client_fault: {
      const ClientId id = random_.below(weather_.clients);
      if (random_.chance(50)) {
        clients_[id]->alive = false;
      } else {
        clients_[id]->paused = true;
        at(random_.between(5, 250), What::wake, id, 2);
      }
      return;
    }
    case What::calm:
      return become_calm();
    default:
      return;
  }
}

// --- the directory's side

void World::read(const Event& event) {
  SimAgent& reader = agent(event.a);
  if (!joined_[event.a] || !up_ || reader.incarnation() != event.b || !reader.alive) return;
  const std::uint32_t newest = directory_.revision();
  std::uint32_t revision = newest;
  if (!calm_ && reader.has_read() && random_.chance(weather_.stale)) {
    revision = random_.between(reader.seen(), newest);
  }
  at_agent(delay(), What::read_answer, event.a, revision);
}

void World::write(const Event& event) {
  if (!joined_[event.a] || !up_) return;
  Operation& operation = operations_[event.b];
  if (operation.kind == Operation::Kind::enroll) {
    // A session makes no record of its own after its end.
    if (!reaches(event.a) || agent(event.a).incarnation() != event.c) return;
    operation.members = members_on(event.a);
  }
  const Snapshot& before = directory_.now();
  const std::uint32_t revision = directory_.revision();
  bool registered = true;
  bool lost_before = false;
  if (operation.kind == Operation::Kind::commit) {
    const Plan& plan = directory_.plan(operation.move);
    const NodeRecord& node = before.nodes[plan.target];
    registered = node.present && node.incarnation == plan.target_incarnation;
  } else if (operation.kind == Operation::Kind::dead && operation.process != 0) {
    lost_before = given_to_lost_;
  }
  const bool happened = directory_.apply(operation);
  if (directory_.revision() != revision) {
    log("written: kind %u of node %u, move %u", static_cast<unsigned>(operation.kind),
        operation.node, operation.move);
    if (operation.kind == Operation::Kind::plan) ++numbers_.moves;
    if (operation.kind == Operation::Kind::abort) ++numbers_.aborted;
    if (operation.kind == Operation::Kind::commit) {
      ++numbers_.committed;
      given_to_lost_ = !registered;
    }
    if (lost_before) audit_.fail("the group died of a commit by an agent that was lost before");
    changed();
  }
  const SimAgent& writer = agent(event.a);
  if (!writer.alive || writer.incarnation() != event.c) return;
  queue_.push_back({now_ + delay(), order_++, What::answer, event.a, event.b, directory_.revision(),
                    happened ? 1u : 0u, event.c});
  std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
}

std::uint32_t World::members_on(NodeId node) const {
  std::uint32_t members = 0;
  for (const auto& process : processes_) {
    if (process->node() == node) members |= members_of(directory_.revision(), process->id());
  }
  return members;
}

void World::look_up(const Event& event) {
  const SimClient& client = *clients_[event.a];
  if (!reaches(client.node())) return;
  std::uint32_t revision = directory_.revision();
  if (!calm_ && random_.chance(weather_.stale)) revision = random_.below(revision + 1);
  at(delay(), What::lookup_answer, event.a, event.b, revision);
}

void World::changed() {
  for (NodeId node = 0; node < weather_.nodes; ++node) {
    if (agent(node).alive) at_agent(delay(), What::look, node);
  }
}

void World::update_reach(NodeId node) {
  const bool reaches_now = reaches(node);
  if (reached_[node] == reaches_now) return;
  reached_[node] = reaches_now;
  ++silence_[node];
  if (reaches_now) {
    agent(node).on_reach();
  } else {
    at(Weather::kSession, What::expire, node, silence_[node]);
  }
}

void World::expire(const Event& event) {
  const NodeId node = event.a;
  if (silence_[node] != event.b) return;
  // While the directory is away, nobody's time runs.
  if (!up_) return at(Weather::kSession, What::expire, node, event.b);
  if (directory_.now().nodes[node].present) {
    log("node %u expires", node);
    directory_.expire(node);
    changed();
  }
  at(Weather::kGrace, What::judge, node);
}

void World::judge(NodeId node) {
  const Snapshot& snapshot = directory_.now();
  if (snapshot.nodes[node].present) return;
  ProcessId owner = 0;
  for (std::uint32_t i = 0; i < weather_.endpoints; ++i) {
    const EndpointRecord& endpoint = snapshot.endpoints[i];
    if (!endpoint.dead && process(endpoint.owner).node() == node) owner = endpoint.owner;
  }
  // One that was given to a lost node later is nobody's to judge.
  if (owner == 0) return;
  const NodeId judge = random_.below(weather_.nodes);
  at(30, What::judge, node);
  if (judge == node || !reaches(judge) || !agent(judge).enrolled()) return;
  // As long as its engine answers, the owner is not lost.
  const bool answers = process(owner).runs() && linked_[judge][node] && linked_[node][judge];
  if (!answers) at_agent(1, What::judge_this, judge, node);
}

// --- faults

void World::schedule_faults() {
  std::vector<std::uint32_t>& plans = plans_;
  MoveId move = 0;
  for (std::uint32_t i = 0; i < weather_.moves && move < kMaxMoves; ++i) {
    const std::uint32_t when = random_.between(20, Weather::kFaultyTime - 200);
    plans.push_back(when);
    const NodeId planner = random_.below(weather_.nodes);
    at_agent(when, What::plan, planner, ++move);
    if (move < kMaxMoves && random_.chance(30)) {
      const std::uint32_t later = when + random_.below(5);
      const NodeId other = random_.below(weather_.nodes);
      at_agent(later, What::plan, other, ++move);
    }
  }
  for (std::uint32_t i = 0; i < weather_.calls; ++i) {
    const std::uint32_t when = random_.below(Weather::kFaultyTime);
    const ClientId client = random_.below(weather_.clients);
    at(when, What::call, client);
  }
  const auto sometime = [&](std::uint32_t count, What what) {
    for (std::uint32_t i = 0; i < count; ++i) at(fault_time(), what);
  };
  sometime(weather_.process_crashes, What::process_crash);
  sometime(weather_.agent_crashes, What::agent_crash);
  sometime(weather_.pauses, What::pause);
  sometime(weather_.cuts, What::cut);
  sometime(weather_.partitions, What::partition);
  sometime(weather_.outages, What::outage);
  sometime(weather_.node_losses, What::node_loss);
  sometime(weather_.client_faults, What::client_fault);
  at(Weather::kFaultyTime, What::calm);
}

/// Most strike while a move is under way, which does not take long.
std::uint32_t World::fault_time() {
  if (random_.chance(25)) return random_.below(Weather::kFaultyTime);
  const std::uint32_t plan = plans_[random_.below(static_cast<std::uint32_t>(plans_.size()))];
  return std::min(plan + random_.below(120), Weather::kFaultyTime - 1);
}

ProcessId World::some_process() {
  const Snapshot& snapshot = directory_.now();
  for (MoveId move = 1; move <= kMaxMoves; ++move) {
    const MoveRecord& record = snapshot.moves[move];
    if (record.active && record.process != 0 && random_.chance(50)) return record.process;
  }
  if (random_.chance(60)) return snapshot.endpoints[0].owner;
  return 1 + random_.below(static_cast<std::uint32_t>(processes()));
}

NodeId World::some_node() {
  if (random_.chance(20)) return random_.below(weather_.nodes);
  return process(some_process()).node();
}

void World::crash_process(ProcessId id) {
  SimProcess& victim = process(id);
  if (!victim.alive) return;
  log("process %llu is killed", static_cast<unsigned long long>(id));
  victim.kill();
  if (agent(victim.node()).alive) {
    at_agent(random_.between(1, 10), What::process_lost, victim.node(),
             static_cast<std::uint32_t>(id));
  }
}

void World::crash_agent(NodeId node) {
  if (!agent(node).alive) return;
  log("agent %u is killed", node);
  agent(node).crash();
  for (const auto& process : processes_) {
    if (process->node() == node) process->detach();
  }
  update_reach(node);
  at(random_.between(5, 200), What::restart, node);
}

void World::pause() {
  const std::uint32_t time = random_.between(5, 250);
  if (random_.chance(50)) {
    const ProcessId id = some_process();
    process(id).paused = process(id).alive;
    log("process %llu is stopped", static_cast<unsigned long long>(id));
    return at(time, What::wake, static_cast<std::uint32_t>(id), 1);
  }
  const NodeId node = some_node();
  agent(node).paused = agent(node).alive;
  log("agent %u is stopped", node);
  update_reach(node);
  at(time, What::wake, node, 0);
}

void World::wake(Party& party) {
  if (!party.alive || !party.paused) return;
  party.paused = false;
  for (Event event : party.backlog) {
    event.time = now_;
    event.order = order_++;
    queue_.push_back(event);
    std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
  }
  party.backlog.clear();
  for (NodeId node = 0; node < weather_.nodes; ++node) update_reach(node);
}

void World::cut() {
  const NodeId from = some_node();
  const NodeId to = random_.below(weather_.nodes);
  const bool both = random_.chance(50);
  const bool noticed = random_.chance(50);
  const std::uint32_t time = random_.between(5, 200);
  for (const auto& [a, b] : {std::pair{from, to}, std::pair{to, from}}) {
    linked_[a][b] = false;
    at(time, What::heal, a, b);
    if (!both) break;
  }
  if (!noticed) return;
  for (const auto& process : processes_) {
    for (const auto& other : processes_) {
      if (process->node() != from || other->node() != to || !process->alive) continue;
      at(random_.between(1, 20), What::broken, static_cast<std::uint32_t>(process->id()),
         static_cast<std::uint32_t>(other->id()));
      at(random_.between(1, 20), What::broken, static_cast<std::uint32_t>(other->id()),
         static_cast<std::uint32_t>(process->id()));
    }
  }
}

void World::lose_node() {
  // One at least must be left to judge.
  const NodeId node = some_node();
  lost_[node] = true;
  log("node %u is lost", node);
  for (const auto& process : processes_) {
    if (process->node() == node) process->kill();
  }
  for (const auto& client : clients_) {
    if (client->node() == node) client->alive = false;
  }
  agent(node).crash();
  update_reach(node);
}

void World::become_calm() {
  calm_ = true;
  up_ = true;
  for (NodeId node = 0; node < weather_.nodes; ++node) {
    joined_[node] = true;
    for (NodeId other = 0; other < weather_.nodes; ++other) linked_[node][other] = true;
    wake(agent(node));
    if (!agent(node).alive) handle({now_, 0, What::restart, node, 0, 0, 0, 0});
  }
  for (const auto& process : processes_) wake(*process);
  for (const auto& client : clients_) wake(*client);
  for (NodeId node = 0; node < weather_.nodes; ++node) update_reach(node);
}

void World::trace(const Event& event) const {
  static constexpr const char* kNames[] = {
      "read_answer",    "answer",        "retry",         "look",
      "agent_timer",    "agent_message", "process_lost",  "spawned",
      "plan",           "judge_this",    "attach",        "process_message",
      "take",           "handled",       "round",         "sent",
      "docked",         "quiet",         "process_timer", "broken",
      "client_message", "client_timer",  "call",          "lookup_answer",
      "read",           "operation",     "lookup",        "expire",
      "judge",          "wake",          "restart",       "heal",
      "join",           "restore",       "process_crash", "agent_crash",
      "pause",          "cut",           "partition",     "outage",
      "node_loss",      "client_fault",  "calm"};
  static constexpr const char* kTypes[] = {"push",  "report",   "hello",   "chunk",
                                           "image", "manifest", "request", "probe",
                                           "reply", "moved",    "attach"};
  std::printf("%6llu %-15s %u %u %u %u", static_cast<unsigned long long>(event.time),
              kNames[static_cast<std::size_t>(event.what)], event.a, event.b, event.c, event.d);
  const bool carries = event.what == What::agent_message || event.what == What::process_message ||
                       event.what == What::client_message;
  if (carries) {
    const Message& message = messages_[event.b];
    std::printf("  %s from %llu move %u", kTypes[static_cast<std::size_t>(message.type)],
                static_cast<unsigned long long>(message.from), message.move);
    switch (message.type) {
      case Message::Type::push:
        std::printf(" %s epoch %u", to_string(message.push), message.epoch);
        break;
      case Message::Type::report:
        std::printf(" %s (%s)", to_string(message.report), to_string(message.reason));
        break;
      default:
        std::printf(" endpoint %u client %u number %u received %u epoch %u", message.endpoint,
                    message.client, message.number, message.received, message.epoch);
    }
  }
  std::printf("\n");
}

}  // namespace godwit::move_simulator
