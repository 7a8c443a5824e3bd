// Engine: what a move needs of an endpoint: its gate, and its life at a new place. Its image is in
// engine_image.cc.
#include <algorithm>

#include "engine/engine.h"

namespace godwit {

using Gate = LocalEndpoint::Gate;

std::vector<Channel*> Engine::channels_of(LocalEndpoint& local) const {
  std::vector<Channel*> channels;
  channels.reserve(local.channels.size() + 1);
  for (const auto& [remote, channel] : local.channels) channels.push_back(channel);
  if (local.mirror != nullptr) channels.push_back(local.mirror);
  return channels;
}

/// Between two requests: runs the interlude, and says whether the application may take something.
bool Engine::attend(LocalEndpoint& local) {
  if (local.interlude) {
    // A copy: it may set another, or none.
    const std::function<bool()> interlude = local.interlude;
    if (interlude()) restless_ = true;
  }
  return local.gate == Gate::open || hands_out_the_last(local);
}

/// Whether the gate, while it closes, lets what had arrived through: whoever is answered at the
/// last moment waits for the new place from then on, and not from its place in the queue.
bool Engine::hands_out_the_last(const LocalEndpoint& local) {
  if (local.gate != Gate::closing || local.last_requests == 0) return false;
  if (Clock::now() >= local.last_call) return false;
  for (const Channel* channel = local.ready_head; channel != nullptr;
       channel = channel->next_ready) {
    if (!channel->requests.empty()) return true;
  }
  return false;
}

void Engine::at_rest(std::uint32_t endpoint, std::function<bool()> interlude) {
  LocalEndpoint& local = *endpoints_[endpoint];
  local.interlude = std::move(interlude);
  local.attention = local.gate != Gate::open || local.interlude != nullptr;
}

void Engine::shut(std::uint32_t endpoint) {
  LocalEndpoint& local = *endpoints_[endpoint];
  if (local.gate != Gate::open) return;
  local.gate = Gate::closing;
  local.attention = true;
  local.last_call = Clock::now() + kLastCall;
  local.last_requests = 0;
  for (const Channel* channel = local.ready_head; channel != nullptr;
       channel = channel->next_ready) {
    for (const fabric::Frame* each = channel->requests.front(); each != nullptr; each = each->next)
      ++local.last_requests;
  }
  recall(local);
}

/// What the endpoint still does; empty: nothing, it can be parked.
std::string Engine::busy(std::uint32_t endpoint) const {
  LocalEndpoint& local = *endpoints_[endpoint];
  std::uint64_t requests = 0, calls = 0, copies = 0, waits = 0, leases = 0;
  for (const Channel* channel : channels_of(local)) {
    requests += channel->executing;
    calls += channel->calls_waiting;
    copies += channel->copies;
    waits += channel->watchers;
  }
  for (const auto& transfer : transfers_) {
    // The peer touches the memory by itself, wherever the endpoint thinks it is, until it has ended
    // or confirmed that; and a frame may be half-way into it.
    leases += transfer->owner == &local && transfer->is_open_to_peer();
  }
  for (const auto& push : pushes_) {
    // The others are counted with their channels.
    const bool is_located = push->copy.channel != nullptr || push->copy.result;
    copies += push->owner == &local && !is_located;
  }
  const bool last = hands_out_the_last(local);
  std::string what;
  const auto add = [&](std::uint64_t count, std::string_view of) {
    if (count == 0) return;
    what += (what.empty() ? "" : ", ") + std::to_string(count) + " " + std::string(of);
  };
  add(last ? local.last_requests : 0, "requests not taken");
  add(requests, "requests not answered");
  add(calls, "calls of its own under way");
  add(copies, "copies of its own under way");
  add(waits, "sends waiting to be received");
  add(leases, "copies of granted memory under way");
  return what;
}

/// Where the engines of the endpoint's peers are reached, each once. Those that have dialled this
/// one are known to the directory alone: it is asked, for the next time.
std::vector<std::string> Engine::peers_of(std::uint32_t endpoint) {
  std::vector<const PeerLink*> links;
  for (Channel* channel : channels_of(*endpoints_[endpoint])) {
    if (channel->dead || channel->mirror || channel->link == nullptr) continue;
    if (channel->link->address.node.empty()) {
      locate(*channel);
    } else {
      links.push_back(channel->link);
    }
  }
  std::sort(links.begin(), links.end());
  links.erase(std::unique(links.begin(), links.end()), links.end());
  std::vector<std::string> addresses;
  addresses.reserve(links.size());
  for (const PeerLink* link : links) addresses.push_back(link->address.serialize());
  return addresses;
}

/// Dials an engine before there is a channel to it.
Result<void> Engine::acquaint(std::uint32_t dc, std::string_view engine_address) {
  auto address = fabric::EngineAddress::parse(engine_address);
  if (!address) return tl::make_unexpected(address.error());
  PeerLink& link = link_to(*address, dc);
  if (link.connection == nullptr && link.dialing == nullptr) dial(link);
  return {};
}

/// Whether a request has come with the endpoint: its reply goes aboard the attach, and the peer is
/// asked nothing before. If its engine is still to be reached, that comes first.
bool Engine::answers_first(const Channel& channel) {
  return !channel.requests.empty() && channel.link != nullptr &&
         channel.link->connection != nullptr;
}

/// Attaches to the peers while the gate is still shut: what they send again is here when it opens.
/// Should it never open, the old place attaches to them above these sessions.
bool Engine::receive_peers(std::uint32_t endpoint, std::size_t parts) {
  const auto channels = channels_of(*endpoints_[endpoint]);
  std::size_t most = channels.size() / parts + 1;
  for (Channel* channel : channels) {
    if (channel->mirror || channel->redirect || !channel->core.detached()) continue;
    if (answers_first(*channel)) continue;
    if (most-- == 0) return true;
    channel->redirect = true;
    serve(*channel);
  }
  return false;
}

std::size_t Engine::attached_peers(std::uint32_t endpoint) const {
  const auto channels = channels_of(*endpoints_[endpoint]);
  return static_cast<std::size_t>(std::count_if(
      channels.begin(), channels.end(), [](const Channel* each) { return each->core.attached(); }));
}

EndpointPlace Engine::place_of(std::uint32_t endpoint) const {
  const LocalEndpoint& local = *endpoints_[endpoint];
  EndpointPlace place;
  place.id = local.id;
  place.name = local.name;
  place.lineage = local.lineage;
  place.epoch = local.epoch;
  place.engine_address = address_blob_;
  return place;
}

void Engine::drop_inbox(Channel& channel) {
  channel.messages.clear();
  channel.requests.clear();
}

void Engine::tell_grant(Channel& channel) {
  channel.grant_untold = false;
  send_report(channel, channel.core.in(Stream::messages).arrived(),
              channel.core.in(Stream::replies).arrived(), wire::kGranted);
}

/// The grant: at the new place, or at the old one again after a move that was given up.
void Engine::open_gate(std::uint32_t endpoint, std::uint32_t epoch) {
  LocalEndpoint& local = *endpoints_[endpoint];
  const bool arrived = std::exchange(local.gate, Gate::open) == Gate::arriving;
  local.last_requests = 0;
  local.epoch = epoch;
  local.attention = local.interlude != nullptr;
  for (Channel* channel : channels_of(local)) {
    channel->parked = false;
    if (channel->dead) continue;
    if (arrived) {
      channel->core.on_granted(epoch);
      channel->grant_untold = !channel->core.detached();
      // The answer is on its way, and what comes behind it finds the gate open.
      if (channel->core.state() == channel::ChannelCore::State::attaching) continue;
      if (channel->core.attached()) {
        // A peer whose request is here already is told after the answer: all it can miss is what
        // could not wait behind the gate.
        if (channel->has_input()) {
          set_timer(*channel, Clock::now() + kGrantDelay);
        } else {
          tell_grant(*channel);
        }
        if (channel->notify_waiting != 0 && channel->notify_flying == 0)
          send_notification(*channel);
        continue;
      }
    } else {
      drop_inbox(*channel);
      channel->core.on_moved(epoch);
    }
    if (channel->connection != nullptr) detach(*channel);
    channel->redirect = !channel->mirror;
    for (Channel::Outgoing& out : channel->out) out.unsent = out.retained.front();
    if (answers_first(*channel)) {
      set_timer(*channel, Clock::now() + kGrantDelay);
    } else {
      serve(*channel);
    }
  }
}

/// Tells a peer that is attached to look elsewhere.
void Engine::turn_away(Channel& channel) {
  const EndpointId& own = channel.local->id;
  const auto why = channel.local->lost ? wire::RefusedReason::gone : wire::RefusedReason::moved;
  wire::Header header;
  header.type = wire::Type::refused;
  header.channel = channel.core.peer_index();
  post_control(*channel.connection, header,
               wire::Refused{own, channel.remote, why, channel.core.session()});
}

/// The endpoint serves elsewhere. Late attaches are answered so for as long as this process lives.
void Engine::leave(std::uint32_t endpoint) {
  LocalEndpoint& local = *endpoints_[endpoint];
  local.gate = Gate::left;
  local.attention = true;
  local.interlude = nullptr;
  for (Channel* channel : channels_of(local)) {
    drop_inbox(*channel);
    channel->notify_arrived = 0;
    if (channel->connection != nullptr && channel->core.attached()) turn_away(*channel);
    fail_channel(*channel, local.farewell());
  }
  local.notified.clear();
}

}  // namespace godwit
