// Engine: back to the better transport while the channels go on over a lesser one.
//
// Only the side that dialled a connection looks for a better one: it knows the peer's address, its
// order of transports decides, and two sides with different orders cannot undo each other's choice.
// Once the better connection stands, the lesser one is closed, and its channels carry on as after
// any break: in a new session that sends again what had not arrived (docs/channel.md).
#include <algorithm>

#include "engine/engine.h"

namespace godwit {

namespace {

/// The place of a transport in the order of preference; 0 is the best.
std::size_t rank(const std::vector<fabric::TransportKind>& order, fabric::TransportKind kind) {
  return static_cast<std::size_t>(std::find(order.begin(), order.end(), kind) - order.begin());
}

}  // namespace

/// Of the link's connections that are established, the best; null if there is none.
fabric::Connection* Engine::standing(const PeerLink& link) const {
  const auto order = fabric_->common(link.address);
  fabric::Connection* best = nullptr;
  for (const auto& [connection, of] : connections_) {
    if (of != &link || !connection->established()) continue;
    if (best == nullptr || rank(order, connection->kind()) < rank(order, best->kind()))
      best = connection;
  }
  return best;
}

/// Whether the link has a better connection already: this one comes too late.
bool Engine::outranked(const PeerLink& link, const fabric::Connection& connection) const {
  if (link.connection == nullptr) return false;
  const auto order = fabric_->common(link.address);
  return rank(order, link.connection->kind()) < rank(order, connection.kind());
}

/// The link's connections have changed: plans what is to be done about the lesser ones.
void Engine::look_for_better(PeerLink& link) {
  if (link.connection == nullptr || link.address.node.empty()) return;
  const auto order = fabric_->common(link.address);
  std::size_t best = order.size(), own_best = order.size(), own_worst = 0;
  for (const auto& [connection, of] : connections_) {
    if (of != &link || !connection->established()) continue;
    const std::size_t place = rank(order, connection->kind());
    best = std::min(best, place);
    if (!connection->peer().dialed) continue;
    own_best = std::min(own_best, place);
    own_worst = std::max(own_worst, place);
  }
  const auto now = Clock::now();
  if (own_worst > best) set_link_timer(link, now + kSettle);
  const bool due =
      own_best == best && best != 0 && best != order.size() && return_pace_.first.count() != 0;
  if (due && !link.back.due) {
    link.back.better.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(best));
    link.back.next = best;  // a dial that is under way, and fails, is not followed by another
    plan_return(link, now);
  }
  link.back.due = due;
}

/// Sets the time of the next attempt: soon at first, and later and later.
void Engine::plan_return(PeerLink& link, Clock::time_point now) {
  PeerLink::Return& back = link.back;
  // Longer ago than the pace allows: the better transport had worked since.
  const bool anew =
      back.tried == Clock::time_point::min() || now - back.tried > 2 * return_pace_.longest;
  back.delay = anew ? return_pace_.first : std::min(back.delay * 2, return_pace_.longest);
  back.at = now + back.delay;
  // A link without channels waits for its next one, in join().
  if (!link.channels.empty()) set_link_timer(link, back.at);
}

/// Dials the next of the better transports; after the last one, later again.
void Engine::try_better(PeerLink& link) {
  PeerLink::Return& back = link.back;
  while (back.due && back.next < back.better.size()) {
    auto connection = fabric_->connect(link.address, link.dc, back.better[back.next++]);
    if (!connection) continue;
    back.dialing = *connection;
    connections_[*connection] = &link;
    return;
  }
  if (back.due) plan_return(link, Clock::now());
}

void Engine::on_link_timer(PeerLink& link, Clock::time_point now) {
  PeerLink::Return& back = link.back;
  if (link.connection == nullptr) {
    // A dial that takes long: the next transport is tried beside it (as RFC 8305 does).
    if (link.dialing != nullptr && back.dialing == nullptr &&
        link.candidate < link.candidates.size()) {
      back.dialing = std::exchange(link.dialing, nullptr);
      back.next = back.better.size();
      dial(link);
    }
    return;
  }
  const auto order = fabric_->common(link.address);
  const std::size_t best = rank(order, link.connection->kind());
  std::vector<fabric::Connection*> lesser;
  for (const auto& [connection, of] : connections_) {
    if (of == &link && connection->established() && connection->peer().dialed &&
        rank(order, connection->kind()) > best) {
      lesser.push_back(connection);
    }
  }
  // What a peer said before its end may lie unread in the connection: that is waited for.
  const bool farewell =
      !lesser.empty() && std::any_of(link.channels.begin(), link.channels.end(), [](Channel* each) {
        return each->ends != Clock::time_point::max();
      });
  if (farewell) {
    set_link_timer(link, now + kSettle);
  } else {
    for (fabric::Connection* connection : lesser) {
      connection->close(Error{Errc::closed, "the channels return to a better transport", {}});
    }
  }
  if (!back.due || back.dialing != nullptr || link.channels.empty()) return;
  if (now < back.at) {
    set_link_timer(link, back.at);
  } else {
    back.tried = now;
    back.next = 0;
    try_better(link);
  }
}

}  // namespace godwit
