#include "loopback/loopback_transport.h"

#include <algorithm>
#include <utility>

#include "godwit/fabric/address.h"
#include "godwit/fabric/poller.h"

namespace godwit::fabric {

LoopbackTransport::LoopbackTransport(LoopbackHub& hub, TransportContext& context,
                                     Handshake::Offer offer)
    : hub_(hub), context_(context), offer_(std::move(offer)) {
  offer_.max_payload = std::min(offer_.max_payload, context_.max_payload);
}

LoopbackTransport::~LoopbackTransport() {
  hub_.leave(context_.identity.engine);
}

Result<void> LoopbackTransport::listen(EngineAddress&) {
  hub_.enter(context_.identity.engine, *this);
  return {};
}

bool LoopbackTransport::can_reach(const EngineAddress& peer) const {
  return hub_.find(peer.engine) != nullptr;
}

Result<Connection*> LoopbackTransport::connect(const EngineAddress& peer, std::uint32_t dc) {
  if (!can_reach(peer)) return fail(Errc::unreachable, "no such engine in this hub");
  Handshake handshake = Handshake::dial(context_.identity, dc, offer_, peer.engine);
  if (handshake.state() == Handshake::State::failed) return tl::make_unexpected(handshake.error());
  LoopbackTransport& remote = *hub_.find(peer.engine);
  LoopbackConnection& dialed = add(std::move(handshake));
  if (hub_.chance(hub_.faults().refuse_connect)) {
    dialed.close({Errc::unreachable, "the connection was refused", {}});
    return &dialed;
  }
  LoopbackConnection& accepted =
      remote.add(Handshake::accept(remote.context_.identity, remote.offer_));
  LoopbackConnection::join(dialed, accepted);
  dialed.send_handshake();
  return &dialed;
}

LoopbackConnection& LoopbackTransport::add(Handshake handshake) {
  connections_.push_back(std::make_unique<LoopbackConnection>(
      *this, std::move(handshake), std::chrono::steady_clock::now() + context_.handshake_timeout));
  return *connections_.back();
}

unsigned LoopbackTransport::progress() {
  ++round_;
  unsigned events = 0;
  // Handlers may connect, which adds at the end, and close, which takes nothing away here.
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    LoopbackConnection& connection = *connections_[i];
    events += connection.deliver();
    if (connection.under_handshake() && connection.deadline() <= std::chrono::steady_clock::now()) {
      connection.expire();
    }
  }
  std::vector<std::unique_ptr<LoopbackConnection>> closed;
  std::erase_if(connections_, [&](std::unique_ptr<LoopbackConnection>& connection) {
    if (connection->open()) return false;
    closed.push_back(std::move(connection));
    return true;
  });
  for (const auto& connection : closed) {
    context_.events.on_closed(*connection, connection->reason());
  }
  return events + static_cast<unsigned>(closed.size());
}

bool LoopbackTransport::arm() {
  armed_ = std::none_of(connections_.begin(), connections_.end(), [](const auto& connection) {
    return !connection->open() || connection->has_work();
  });
  return armed_;
}

void LoopbackTransport::wake() noexcept {
  if (std::exchange(armed_, false)) context_.poller.wake();
}

void LoopbackTransport::cut_all_to(EngineId engine) {
  for (const auto& connection : connections_) {
    if (connection->established() && connection->remote() == engine) connection->cut();
  }
}

std::chrono::steady_clock::time_point LoopbackTransport::next_deadline() const {
  auto next = std::chrono::steady_clock::time_point::max();
  for (const auto& connection : connections_) {
    if (connection->under_handshake()) next = std::min(next, connection->deadline());
  }
  return next;
}

}  // namespace godwit::fabric
