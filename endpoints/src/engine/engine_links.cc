// Engine: connections to peers' engines: which, in what order, and what happens when one breaks.
#include <algorithm>

#include "engine/engine.h"

namespace godwit {

PeerLink& Engine::link_to(const fabric::EngineAddress& address, std::uint32_t dc) {
  auto& link = links_[PeerKey{address.engine, dc}];
  if (link == nullptr) link = std::make_unique<PeerLink>();
  link->dc = dc;
  // A link that a peer's dial has made knows no way back yet.
  if (link->address.node.empty()) link->address = address;
  return *link;
}

void Engine::join(Channel& channel, PeerLink& link) {
  if (channel.link == &link) return;
  if (channel.link != nullptr) std::erase(channel.link->channels, &channel);
  channel.link = &link;
  link.channels.push_back(&channel);
  if (link.back.due && link.back.dialing == nullptr) set_link_timer(link, link.back.at);
}

void Engine::serve(Channel& channel) {
  if (!channel.may_attach()) return;
  if (channel.link == nullptr) {
    locate(channel);
    return;
  }
  PeerLink& link = *channel.link;
  if (link.connection != nullptr) {
    start_session(channel, *link.connection);
  } else if (link.dialing == nullptr) {
    const auto now = Clock::now();
    if (now < link.retry) {
      set_timer(channel, link.retry);
    } else {
      dial(link);
    }
  }
}

void Engine::dial(PeerLink& link) {
  if (link.address.node.empty()) {
    // Only the directory knows where a peer that had dialled us can be reached.
    for (Channel* channel : std::vector<Channel*>(link.channels)) {
      if (channel->wanted()) locate(*channel);
    }
    return;
  }
  if (link.candidate == 0) {
    link.candidates = fabric_->candidates(link.address);
    if (link.next) {
      const auto preferred = std::find(link.candidates.begin(), link.candidates.end(), *link.next);
      if (preferred != link.candidates.end()) {
        std::rotate(link.candidates.begin(), preferred, preferred + 1);
      }
    }
    if (link.candidates.empty()) {
      link.last_error =
          Error{Errc::unreachable, "no transport is common with node " + link.address.node, {}};
    }
  }
  while (link.candidate < link.candidates.size()) {
    const fabric::TransportKind kind = link.candidates[link.candidate++];
    if (link.back.dialing != nullptr && link.back.dialing->kind() == kind) continue;
    auto connection = fabric_->connect(link.address, link.dc, kind);
    if (connection) {
      link.dialing = *connection;
      connections_[*connection] = &link;
      if (link.candidate < link.candidates.size()) {
        set_link_timer(link, Clock::now() + kHeadStart);
      }
      return;
    }
    link.last_error = connection.error();
  }
  // Nothing worked: the peer may be gone or elsewhere, which the directory knows. Try again later.
  link.candidate = 0;
  link.next.reset();
  link.backoff = std::clamp(link.backoff * 2, std::chrono::milliseconds(5), kMaxBackoff);
  link.retry = Clock::now() + link.backoff;
  for (Channel* channel : std::vector<Channel*>(link.channels)) {
    if (!channel->wanted()) continue;
    set_timer(*channel, link.retry);
    locate(*channel);
  }
}

void Engine::on_established(fabric::Connection& connection) {
  const fabric::PeerInfo& peer = connection.peer();
  counters_->connects.add();
  PeerLink* link = nullptr;
  if (const auto known = connections_.find(&connection); known != connections_.end()) {
    link = known->second;
  } else {
    fabric::EngineAddress unknown;
    unknown.engine = peer.engine;
    link = &link_to(unknown, peer.dc);
    connections_[&connection] = link;
  }
  if (link->dialing == &connection) link->dialing = nullptr;
  if (link->back.dialing == &connection) link->back.dialing = nullptr;
  if (peer.dialed && outranked(*link, connection)) {
    connection.close(Error{Errc::closed, "a better one was there first", {}});
    return;
  }
  link->connection = &connection;
  link->candidate = 0;
  link->backoff = std::chrono::milliseconds(0);
  link->next.reset();
  for (Channel* channel : std::vector<Channel*>(link->channels)) {
    if (channel->wanted() && channel->may_attach()) start_session(*channel, connection);
  }
  look_for_better(*link);
}

void Engine::on_closed(fabric::Connection& connection, const Error& reason) {
  const auto known = connections_.find(&connection);
  if (connection.established()) counters_->disconnects.add();
  const auto kind = static_cast<std::size_t>(connection.kind());
  closed_sums_[kind].frames_sent += connection.counters().frames_sent;
  closed_sums_[kind].frames_received += connection.counters().frames_received;
  closed_sums_[kind].bytes_sent += connection.counters().bytes_sent;
  closed_sums_[kind].bytes_received += connection.counters().bytes_received;
  closed_sums_[kind].bytes_fetched += connection.counters().bytes_fetched;
  closed_sums_[kind].bytes_written += connection.counters().bytes_written;
  if (known == connections_.end()) return;  // a peer whose handshake failed
  PeerLink& link = *known->second;
  connections_.erase(known);
  if (link.connection == &connection) {
    link.connection = standing(link);
    link.back.due = false;
  }
  look_for_better(link);
  if (link.back.dialing == &connection) {
    link.back.dialing = nullptr;
    if (link.connection != nullptr) return try_better(link);  // no channel has known it
  }
  const bool dialed = link.dialing == &connection;
  if (dialed) link.dialing = nullptr;
  link.last_error = reason;

  const bool hopeless = dialed && link.connection == nullptr &&
                        (reason.code == Errc::wrong_key || reason.code == Errc::version_mismatch);
  bool wanted = false;
  for (Channel* channel : std::vector<Channel*>(link.channels)) {
    if (channel->connection == &connection) detach(*channel);
    if (channel->ends != Clock::time_point::max()) {
      end(*channel);
    } else if (hopeless) {
      fail_channel(*channel, reason);
    } else {
      wanted = wanted || channel->wanted();
    }
  }
  if (!wanted || link.dialing != nullptr) return;
  const bool accepted = connection.established() && !connection.peer().dialed;
  if (link.connection == nullptr && accepted && !link.next) {
    // Whoever dialled dials again; both at once would only cross.
    link.retry = Clock::now() + kAcceptorsPatience;
  }
  for (Channel* channel : std::vector<Channel*>(link.channels)) {
    if (channel->wanted()) serve(*channel);
  }
}

void Engine::on_writable(fabric::Connection&) {
  // progress() pumps after every event.
}

void Engine::locate(Channel& channel) {
  if (std::exchange(channel.locating, true)) return;
  resolver_->locate(channel.remote, [this, mailbox = mailbox_, index = channel.index,
                                     serial = channel.serial](Result<EndpointPlace> place) {
    auto shared = std::make_shared<Result<EndpointPlace>>(std::move(place));
    mailbox->post([this, index, serial, shared] {
      Channel* asked = find(index, serial);
      if (asked == nullptr || asked->dead) return;
      asked->locating = false;
      located(*asked, *shared);
    });
  });
}

/// The peer is gone, as the directory knows.
void Engine::end(Channel& channel) {
  fail_channel(channel, Error{Errc::endpoint_died,
                              channel.lost ? "its process or node was lost"
                                           : "it was unbound or its process exited",
                              channel.remote.to_string()});
}

void Engine::located(Channel& channel, const Result<EndpointPlace>& place) {
  if (!place) {
    if (place.error().code == Errc::not_found) {
      fail_channel(channel, Error{Errc::endpoint_died, "its slot has a new owner",
                                  channel.remote.to_string()});
    } else if (channel.wanted()) {
      // The directory cannot be asked now; the callers' deadlines decide.
      set_timer(channel, Clock::now() + kMaxBackoff);
    }
    return;
  }
  if (place->gone()) {
    channel.lost = place->state == EndpointState::dead;
    if (channel.connection == nullptr) return end(channel);
    // The news has overtaken what the peer itself said before its end, if that still lies in the
    // connection: an acknowledgement, or a reply. Its connection or its own word usually ends the
    // channel before this time is over.
    if (channel.ends == Clock::time_point::max()) channel.ends = Clock::now() + kFarewell;
    set_timer(channel, channel.ends);
    return;
  }
  const bool moved = channel.core.expect_peer(place->lineage, place->epoch);
  if (moved) detach(channel);  // the session was with the place it has left
  auto address = fabric::EngineAddress::parse(place->engine_address);
  if (!address) return;
  const bool had_way = channel.link != nullptr && !channel.link->address.node.empty() &&
                       channel.link->address.engine == address->engine;
  join(channel, link_to(*address, channel.remote.dc));
  // A way that was just tried waits for its retry; a new one is tried at once.
  if ((moved || !had_way) && channel.wanted()) serve(channel);
}

}  // namespace godwit
