#include "client.h"

#include "world.h"

namespace godwit::move_simulator {

SimClient::SimClient(World& world, ClientId id, NodeId node, ProcessId server,
                     const std::array<migrate::Epoch, Weather::kMaxEndpoints>& epochs)
    : world_(&world), id_(id), node_(node) {
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    peers_[i].place = server;
    peers_[i].epoch = epochs[i];
  }
}

bool SimClient::waits() const noexcept {
  for (const Peer& peer : peers_) {
    if (waits(peer)) return true;
  }
  return false;
}

void SimClient::handle(const Event& event) {
  switch (event.what) {
    case What::call:
      return call();
    case What::client_message:
      return on_message(world_->message(event.b));
    case What::client_timer:
      timer_ = false;
      for (std::uint32_t endpoint = 0; endpoint < world_->weather().endpoints; ++endpoint) {
        if (!waits(peers_[endpoint])) continue;
        send(endpoint);
        // The question or its answer may be lost, so it is asked again and again.
        peers_[endpoint].asked = false;
        ask(endpoint);
      }
      return;
    case What::lookup_answer:
      return on_record(event.b, event.c);
    default:
      return;
  }
}

void SimClient::call() {
  const std::uint32_t endpoint = world_->random().below(world_->weather().endpoints);
  const std::uint32_t burst = world_->random().between(1, 3);
  Peer& peer = peers_[endpoint];
  for (std::uint32_t i = 0; i < burst; ++i) {
    if (peer.dead || peer.next - peer.known > kWindow || peer.next > kMaxNumber) break;
    ++peer.next;
    ++calls_;
  }
  if (waits(peer)) send(endpoint);
}

void SimClient::send(std::uint32_t endpoint) {
  Peer& peer = peers_[endpoint];
  for (std::uint32_t number = peer.known + 1; number < peer.next; ++number) {
    if ((peer.answered >> number & 1) != 0) continue;
    Message message;
    message.type = number <= peer.received ? Message::Type::probe : Message::Type::request;
    message.endpoint = endpoint;
    message.client = id_;
    message.number = number;
    message.known = peer.known;
    world_->to_server(id_, peer.place, message);
  }
  set_timer();
}

void SimClient::set_timer() {
  if (timer_) return;
  timer_ = true;
  world_->at(world_->random().between(25, 45), What::client_timer, id_);
}

void SimClient::on_message(const Message& message) {
  Peer& peer = peers_[message.endpoint];
  if (peer.dead) return;
  if (message.type == Message::Type::moved) {
    if (message.from == peer.place) ask(message.endpoint);
    return;
  }
  if (message.epoch < peer.epoch) return;
  learn(peer, message.endpoint, message.from, message.epoch);
  if (message.received >= peer.next) {
    return world_->audit().fail("a request was received that was never sent");
  }
  if (message.received > peer.received) {
    peer.received = message.received;
    world_->audit().on_received(message.endpoint, id_, message.received);
  }
  if (message.number == 0 || message.type != Message::Type::reply) return;
  world_->audit().on_reply(message.endpoint, id_, message.number);
  peer.answered |= std::uint64_t{1} << message.number;
  while (peer.known + 1 < peer.next && (peer.answered >> (peer.known + 1) & 1) != 0) ++peer.known;
}

void SimClient::learn(Peer& peer, std::uint32_t endpoint, ProcessId place, migrate::Epoch epoch) {
  if (epoch <= peer.epoch) return;
  const bool moved = place != peer.place;
  peer.epoch = epoch;
  peer.place = place;
  if (moved && waits(peer)) send(endpoint);
}

void SimClient::ask(std::uint32_t endpoint) {
  if (peers_[endpoint].asked) return;
  peers_[endpoint].asked = true;
  world_->at(world_->delay(), What::lookup, id_, endpoint);
}

void SimClient::on_record(std::uint32_t endpoint, std::uint32_t revision) {
  Peer& peer = peers_[endpoint];
  peer.asked = false;
  const EndpointRecord& record = world_->directory().at(revision).endpoints[endpoint];
  if (record.dead) {
    // Every call that waits ends as died.
    if (!world_->directory().now().endpoints[endpoint].dead) {
      world_->audit().fail("a client was told of a death that is not final");
    }
    peer.dead = true;
    return;
  }
  learn(peer, endpoint, record.owner, record.epoch);
}

}  // namespace godwit::move_simulator
