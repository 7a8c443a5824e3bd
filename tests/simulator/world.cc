#include "world.h"

#include <algorithm>
#include <cstdio>
#include <functional>

namespace godwit::simulator {

namespace {

constexpr std::uint64_t kTimer = 100;  // above the longest round trip
constexpr std::uint64_t kMaxSteps = 20'000;
constexpr std::uint64_t kStepsPerMessage = 200;

}  // namespace

World::World(std::uint64_t seed, const Rules& rules, bool verbose)
    : random_(seed), weather_(random_), rules_(rules), verbose_(verbose) {
  for (std::uint32_t endpoint = 0; endpoint < weather_.endpoints; ++endpoint) {
    truth_.push_back({{endpoint, 1}, next_lineage_++, 1, endpoint});
  }
  live_.resize(weather_.endpoints);
  for (std::uint32_t endpoint = 0; endpoint < weather_.endpoints; ++endpoint) {
    copies_.push_back(std::make_unique<Copy>(*this, endpoint, truth_[endpoint], truth_));
    live_[endpoint] = copies_.back().get();
  }
  const auto sometime = [&](std::uint32_t count, What what) {
    for (std::uint32_t i = 0; i < count; ++i) {
      // One at a time: the order of arguments is the compiler's, and a seed must mean one schedule.
      const std::uint32_t when = random_.below(Weather::kFaultyTime);
      const std::uint32_t endpoint = random_.below(weather_.endpoints);
      schedule(when, what, endpoint);
    }
  };
  sometime(weather_.operations, What::operation);
  sometime(weather_.breaks, What::break_one);
  sometime(weather_.changes, What::change_one);
  sometime(weather_.moves, What::move_one);
  sometime(weather_.crashes, What::crash_one);
}

std::string World::run() {
  while (!queue_.empty() && !audit_.failed()) {
    std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
    const Event event = queue_.back();
    queue_.pop_back();
    now_ = event.time;
    if (verbose_) trace(event);
    handle(event);
    if (++steps_ > kMaxSteps + kStepsPerMessage * audit_.accepted()) {
      audit_.fail("the world does not come to rest");
    }
  }
  if (!audit_.failed()) check_rest();
  return audit_.failure();
}

void World::schedule(std::uint64_t delay, What what, std::uint32_t a, std::uint32_t b,
                     std::uint32_t frame) {
  queue_.push_back({now_ + delay, order_++, what, a, b, frame});
  std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
}

void World::handle(const Event& event) {
  switch (event.what) {
    case What::frame:
      return deliver(event.a, event.b, event.frame);
    case What::opened:
      return open(event.a);
    case What::broken:
      return end_of(event.a, event.b);
    case What::timer: {
      Copy& copy = *copies_[event.a];
      copy.scheduled[event.b].timer = false;
      SimChannel* channel = copy.channel(event.b);
      if (copy.state() == Copy::State::live && channel != nullptr) channel->on_timer();
      return;
    }
    case What::ack: {
      Copy& copy = *copies_[event.a];
      copy.scheduled[event.b].ack = false;
      SimChannel* channel = copy.channel(event.b);
      if (copy.awake() && channel != nullptr) channel->flush_ack();
      return;
    }
    case What::application: {
      Copy& copy = *copies_[event.a];
      copy.application_scheduled = false;
      if (copy.gate_open() && copy.run_application()) wake_application(copy.id());
      return;
    }
    case What::record:
      if (Copy* copy = live(event.a)) return copy->on_record(records_[event.b]);
      return schedule(20, What::record, event.a, event.b);
    case What::operation:
      return operate(event.a);
    case What::break_one:
      return break_one();
    case What::change_one:
      return change_one();
    case What::move_one:
      return move_one();
    case What::crash_one:
      return crash_one();
    case What::settle:
      return settle(event.a, event.b);
    case What::haunt: {
      Copy& copy = *copies_[event.a];
      SimChannel* channel = copy.channel(event.b);
      if (copy.state() == Copy::State::ghost && channel != nullptr) channel->haunt();
      return;
    }
  }
}

// --- the network --------------------------------------------------------------------------------

CopyId World::other_end(ConnectionId connection, CopyId copy) const {
  const Connection& at = connections_[connection];
  return at.ends[at.ends[0] == copy ? 1 : 0];
}

void World::post(CopyId from, ConnectionId id, const Frame& frame) {
  if (id == kNoConnection) return;
  const Connection& connection = connections_[id];
  const std::uint32_t sender = connection.ends[0] == from ? 0 : 1;
  if (!connection.open[sender] || connection.cut) return;
  if (!calm() && random_.chance(weather_.loss)) return;
  carry(id, 1 - sender, frame);
  if (!calm() && random_.chance(weather_.duplication)) carry(id, 1 - sender, frame);
}

void World::carry(ConnectionId id, std::uint32_t side, const Frame& frame) {
  std::uint32_t slot;
  if (free_frames_.empty()) {
    slot = static_cast<std::uint32_t>(frames_.size());
    frames_.push_back(frame);
  } else {
    slot = free_frames_.back();
    free_frames_.pop_back();
    frames_[slot] = frame;
  }
  Connection& connection = connections_[id];
  std::uint64_t arrival = now_ + 1 + random_.below(weather_.spread);
  if (!weather_.reordering || calm()) {
    arrival = std::max(arrival, connection.last_arrival[side]);
    connection.last_arrival[side] = arrival;
  }
  schedule(arrival - now_, What::frame, id, side, slot);
}

void World::deliver(ConnectionId id, std::uint32_t side, std::uint32_t slot) {
  Frame frame = frames_[slot];
  free_frames_.push_back(slot);
  const Connection& connection = connections_[id];
  // That of the place, not that of the time: what a copy sent before it was granted is its own.
  frame.witness_epoch = copies_[connection.ends[1 - side]]->self().epoch;
  Copy& copy = *copies_[connection.ends[side]];
  if (!connection.open[side] || !copy.awake()) return;
  copy.on_frame(id, frame);
  check_agreement(copy, frame.source.endpoint);
}

void World::dial(CopyId from, std::uint32_t peer) {
  const CopyId to = copies_[from]->known(peer).place;
  if (random_.chance(30)) {
    for (std::uint32_t id = 0; id < connections_.size(); ++id) {
      const Connection& connection = connections_[id];
      if (connection.ends[0] == from && connection.ends[1] == to && connection.open[0]) {
        return schedule(0, What::opened, id);
      }
    }
  }
  connections_.push_back({{from, to}});
  schedule(2 + random_.below(2 * weather_.spread), What::opened,
           static_cast<std::uint32_t>(connections_.size() - 1));
}

void World::open(ConnectionId id) {
  Connection& connection = connections_[id];
  Copy& dialler = *copies_[connection.ends[0]];
  if (connection.cut || !dialler.awake() || !copies_[connection.ends[1]]->awake()) return;
  connection.open[0] = connection.open[1] = true;
  const std::uint32_t peer = copies_[connection.ends[1]]->self().identity.endpoint;
  if (SimChannel* channel = dialler.channel(peer)) channel->on_opened(id);
}

void World::end_of(ConnectionId id, std::uint32_t side) {
  Connection& connection = connections_[id];
  if (!connection.open[side]) return;
  connection.open[side] = false;
  Copy& copy = *copies_[connection.ends[side]];
  const std::uint32_t peer = copies_[connection.ends[1 - side]]->self().identity.endpoint;
  SimChannel* channel = copy.channel(peer);
  if (copy.awake() && channel != nullptr) channel->on_broken(id);
}

void World::cut(ConnectionId id, bool at_once) {
  Connection& connection = connections_[id];
  connection.cut = true;
  for (std::uint32_t side = 0; side < 2; ++side) {
    if (at_once) {
      end_of(id, side);
    } else {
      schedule(1 + random_.below(50), What::broken, id, side);
    }
  }
}

void World::cut_all(CopyId copy) {
  for (std::uint32_t id = 0; id < connections_.size(); ++id) {
    const Connection& connection = connections_[id];
    for (std::uint32_t side = 0; side < 2; ++side) {
      if (connection.ends[side] != copy || !connection.open[side]) continue;
      end_of(id, side);
      cut(id, false);
    }
  }
}

// --- timers -------------------------------------------------------------------------------------

void World::set_timer(CopyId id, std::uint32_t peer) {
  Copy& copy = *copies_[id];
  if (copy.state() != Copy::State::live || copy.scheduled[peer].timer) return;
  copy.scheduled[peer].timer = true;
  schedule(kTimer + random_.below(20), What::timer, id, peer);
}

void World::set_ack_timer(CopyId id, std::uint32_t peer) {
  Copy& copy = *copies_[id];
  if (copy.scheduled[peer].ack) return;
  copy.scheduled[peer].ack = true;
  schedule(random_.below(15), What::ack, id, peer);
}

void World::wake_application(CopyId id) {
  Copy& copy = *copies_[id];
  if (copy.application_scheduled || !copy.gate_open()) return;
  copy.application_scheduled = true;
  schedule(random_.below(weather_.hasty ? 2 : 60), What::application, id);
}

// --- what applications and the world do ---------------------------------------------------------

std::uint32_t World::other_endpoint(std::uint32_t endpoint) {
  const std::uint32_t other = random_.below(weather_.endpoints - 1);
  return other < endpoint ? other : other + 1;
}

void World::operate(std::uint32_t endpoint) {
  Copy* copy = live(endpoint);
  const std::uint32_t peer = other_endpoint(endpoint);
  const std::uint32_t choice = random_.below(100);
  const std::uint32_t count = random_.between(1, weather_.burst);
  if (copy == nullptr) return;
  SimChannel& channel = copy->open_channel(peer);
  if (choice < 10) {
    channel.notify();
  } else if (choice < 25) {
    channel.abandon(random_.below(64));
  } else {
    for (std::uint32_t i = 0; i < count; ++i) {
      if (!channel.send(random_.chance(50) ? Kind::request : Kind::message)) break;
    }
  }
}

void World::break_one() {
  std::vector<ConnectionId> open;
  for (std::uint32_t id = 0; id < connections_.size(); ++id) {
    if (connections_[id].open[0] && connections_[id].open[1]) open.push_back(id);
  }
  if (open.empty()) return;
  const ConnectionId chosen = open[random_.below(static_cast<std::uint32_t>(open.size()))];
  cut(chosen, random_.chance(30));
}

void World::change_one() {
  const std::uint32_t endpoint = random_.below(weather_.endpoints);
  const std::uint32_t peer = other_endpoint(endpoint);
  const bool both = random_.chance(60);
  for (const auto& [from, to] : {std::pair{endpoint, peer}, std::pair{peer, endpoint}}) {
    if (Copy* copy = live(from)) {
      copy->open_channel(to);
      dial(copy->id(), to);
    }
    if (!both) break;
  }
}

void World::move_one() {
  const std::uint32_t endpoint = random_.below(weather_.endpoints);
  Copy* original = live(endpoint);
  if (original == nullptr) return;
  original->shut_gate();
  const auto id = static_cast<CopyId>(copies_.size());
  copies_.push_back(std::make_unique<Copy>(*original, id));
  live_[endpoint] = nullptr;
  if (random_.chance(50)) cut_all(original->id());
  if (random_.chance(60)) {
    copies_[id]->arrive();
    dial_all(id);
  }
  schedule(random_.between(1, 100), What::settle, original->id(), id);
}

void World::settle(CopyId old_place, CopyId snapshot) {
  Copy& original = *copies_[old_place];
  Copy& target = *copies_[snapshot];
  Record& truth = truth_[original.self().identity.endpoint];
  const std::uint32_t endpoint = truth.identity.endpoint;
  const std::uint32_t outcome = random_.below(100);
  if (outcome < 10) {  // both places are lost
    for (Copy* copy : {&original, &target}) {
      cut_all(copy->id());
      copy->die();
    }
    return rebirth(endpoint);
  }
  ++truth.epoch;
  if (outcome < 25) {  // aborted: the old place goes on
    cut_all(old_place);
    live_[endpoint] = &original;
    truth.place = old_place;
    original.resume(truth.epoch);
    publish(truth);
    return leave_behind(target);
  }
  live_[endpoint] = &target;
  truth.place = snapshot;
  target.grant(truth.epoch);
  publish(truth);
  dial_all(snapshot);
  leave_behind(original);
}

void World::dial_all(CopyId from) {
  for (std::uint32_t peer = 0; peer < weather_.endpoints; ++peer) {
    const SimChannel* channel = copies_[from]->channel(peer);
    if (channel != nullptr && !channel->core().attached() && random_.chance(70)) dial(from, peer);
  }
}

void World::leave_behind(Copy& copy) {
  if (copy.state() == Copy::State::parked || random_.chance(30)) {
    cut_all(copy.id());
    return copy.die();
  }
  copy.shut_gate();
  for (std::uint32_t i = random_.below(6); i > 0; --i) {
    const std::uint32_t when = random_.below(200);
    schedule(when, What::haunt, copy.id(), other_endpoint(copy.self().identity.endpoint));
  }
}

void World::crash_one() {
  const std::uint32_t endpoint = random_.below(weather_.endpoints);
  Copy* copy = live(endpoint);
  if (copy == nullptr) return;
  cut_all(copy->id());
  copy->die();
  rebirth(endpoint);
}

void World::rebirth(std::uint32_t endpoint) {
  const auto id = static_cast<CopyId>(copies_.size());
  truth_[endpoint] = {{endpoint, truth_[endpoint].identity.generation + 1}, next_lineage_++, 1, id};
  copies_.push_back(std::make_unique<Copy>(*this, id, truth_[endpoint], truth_));
  live_[endpoint] = copies_.back().get();
  publish(truth_[endpoint]);
}

void World::publish(const Record& record) {
  records_.push_back(record);
  const auto index = static_cast<std::uint32_t>(records_.size() - 1);
  for (std::uint32_t endpoint = 0; endpoint < weather_.endpoints; ++endpoint) {
    if (endpoint == record.identity.endpoint) continue;
    schedule(1 + random_.below(300), What::record, endpoint, index);
  }
}

// --- what must hold -----------------------------------------------------------------------------

void World::check_agreement(const Copy& copy, std::uint32_t peer) {
  const std::uint32_t own = copy.self().identity.endpoint;
  if (live_[own] != &copy || live_[peer] == nullptr) return;
  const SimChannel* here = live_[own]->channel(peer);
  const SimChannel* there = live_[peer]->channel(own);
  if (here == nullptr || there == nullptr) return;
  // Two that moved at once may each be with a copy that the other left behind, until they are told.
  if (here->core().peer_epoch() != live_[peer]->self().epoch ||
      there->core().peer_epoch() != copy.self().epoch ||
      here->peer() != live_[peer]->self().identity || there->peer() != copy.self().identity) {
    return;
  }
  if (here->core().attached() && there->core().attached() &&
      here->core().session() == there->core().session() &&
      here->connection() != there->connection()) {
    audit_.fail("one session is on two connections");
  }
}

void World::check_rest() {
  std::vector<std::uint32_t> alive;
  for (const Record& record : truth_) alive.push_back(record.identity.generation);
  audit_.on_quiet(alive);
  for (const Copy* copy : live_) {
    if (copy->has_work()) audit_.fail("an application was never woken");
    for (std::uint32_t peer = 0; peer < weather_.endpoints; ++peer) {
      const SimChannel* channel = const_cast<Copy*>(copy)->channel(peer);
      if (channel != nullptr && channel->peer() == truth_[peer].identity &&
          (!channel->core().out(Stream::messages).empty() ||
           !channel->core().out(Stream::replies).empty())) {
        audit_.fail("a message is retained for ever");
      }
    }
  }
}

void World::trace(const Event& event) const {
  static constexpr const char* kNames[] = {
      "frame",     "opened",    "broken",     "timer",    "ack",       "application", "record",
      "operation", "break_one", "change_one", "move_one", "crash_one", "settle",      "haunt"};
  static constexpr const char* kTypes[] = {
      "sequenced",  "ack",         "probe", "report",       "attach",          "attach_answer",
      "superseded", "stale_epoch", "gone",  "notification", "notification_ack"};
  std::printf("%6llu %-11s %u %u", static_cast<unsigned long long>(event.time),
              kNames[static_cast<std::size_t>(event.what)], event.a, event.b);
  if (event.what == What::frame) {
    const Frame& frame = frames_[event.frame];
    std::printf("  %u.%u -> %u.%u (copies %u -> %u) %s", frame.source.endpoint,
                frame.source.generation, frame.target.endpoint, frame.target.generation,
                connections_[event.a].ends[1 - event.b], connections_[event.a].ends[event.b],
                kTypes[static_cast<std::size_t>(frame.type)]);
    std::printf(" session %u epoch %u arrived %u/%u received %u/%u", frame.state.session,
                frame.state.epoch, frame.state.arrived[0], frame.state.arrived[1],
                frame.state.received[0], frame.state.received[1]);
    if (frame.type == FrameType::sequenced) {
      std::printf(" stream %d number %u kind %d", static_cast<int>(frame.sequenced.stream),
                  frame.sequenced.number, static_cast<int>(frame.sequenced.kind));
    }
  }
  std::printf("\n");
}

}  // namespace godwit::simulator
