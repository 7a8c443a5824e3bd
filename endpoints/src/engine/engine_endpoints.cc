// Engine: binding, looking up and unbinding.
#include <algorithm>

#include "engine/engine.h"

namespace godwit {

/// Asks the resolver something and keeps the engine going until it has answered.
template <typename T>
Result<T> Engine::ask(std::function<void(Resolver::Done<T>)> question, const Wait& wait) {
  struct Answer {
    std::optional<Result<T>> result;
  };
  auto answer = std::make_shared<Answer>();
  question([answer, mailbox = mailbox_](Result<T> result) {
    // The answer is handed over on the engine's thread, so that `answer` needs no lock.
    auto shared = std::make_shared<Result<T>>(std::move(result));
    mailbox->post([answer, shared] { answer->result = std::move(*shared); });
  });
  auto done = run_until([&] { return answer->result.has_value(); }, wait);
  if (!done) return tl::make_unexpected(done.error());
  return std::move(*answer->result);
}

Endpoint Engine::install(const EndpointPlace& place) {
  auto local = std::make_unique<LocalEndpoint>();
  local->id = place.id;
  local->name = place.name;
  local->lineage = place.lineage;
  local->epoch = place.epoch;
  local->index = static_cast<std::uint32_t>(endpoints_.size());
  by_id_[place.id] = local.get();
  endpoints_.push_back(std::move(local));
  counters_->endpoints.set(by_id_.size());
  return Endpoint(shared_from_this(), endpoints_.back()->index, place.id);
}

Result<Endpoint> Engine::bind(std::string_view dc, std::string_view name, const Wait& wait) {
  BindRequest request{std::string(dc), std::string(name), address_blob_};
  auto place = ask<EndpointPlace>(
      [&](Resolver::Done<EndpointPlace> done) { resolver_->bind(request, std::move(done)); }, wait);
  if (!place) return tl::make_unexpected(place.error());
  return install(*place);
}

Result<std::vector<Result<Endpoint>>> Engine::bind_many(const std::vector<std::string>& names,
                                                        const Wait& wait,
                                                        const std::string& program) {
  std::vector<BindRequest> requests;
  requests.reserve(names.size());
  for (const std::string& full : names) {
    auto name = EndpointName::parse(full);
    if (!name) return tl::make_unexpected(name.error());
    requests.push_back({std::string(name->dc), std::string(name->name), address_blob_, program});
  }
  using Places = std::vector<Result<EndpointPlace>>;
  auto places = ask<Places>(
      [&](Resolver::Done<Places> done) { resolver_->bind_many(requests, std::move(done)); }, wait);
  if (!places) return tl::make_unexpected(places.error());
  std::vector<Result<Endpoint>> bound;
  bound.reserve(places->size());
  for (Result<EndpointPlace>& place : *places) {
    if (place) {
      bound.push_back(install(*place));
    } else {
      bound.push_back(tl::make_unexpected(std::move(place.error())));
    }
  }
  return bound;
}

/// Gives what was sent the time to arrive: a process may exit right after its last send or reply.
/// What the peer's engine has is safe; its application may take it later.
void Engine::linger(LocalEndpoint& local) {
  struct Unsure {
    Channel* channel;
    std::uint32_t asked;  // the session in which it was
  };
  std::vector<Unsure> unsure;
  for (const auto& [remote, channel] : local.channels) {
    const bool empty =
        channel->core.out(Stream::messages).empty() && channel->core.out(Stream::replies).empty();
    if (channel->dead || !channel->core.attached() || empty) continue;
    pump(*channel);
    send_probe(*channel);
    unsure.push_back({channel, channel->core.session()});
  }
  if (unsure.empty()) return;
  const auto arrived = [&](Unsure& each) {
    Channel* channel = each.channel;
    if (channel->dead) return true;
    if (!channel->core.attached()) {
      // Between two sessions, as when it returns to a better transport; or cut off.
      return channel->link == nullptr || channel->link->connection == nullptr;
    }
    if (channel->has_unsent()) return false;
    // What lies in a ring is delivered even after our end.
    if (channel->connection->kind() == fabric::TransportKind::shm) return true;
    if (each.asked != channel->core.session()) {
      each.asked = channel->core.session();
      send_probe(*channel);
      return false;
    }
    for (const Stream stream : {Stream::messages, Stream::replies}) {
      const channel::SendWindow& window = channel->core.out(stream);
      if (!window.empty() && channel->reported[static_cast<int>(stream)] != window.sent())
        return false;
    }
    return true;
  };
  // Channels of an endpoint that is being unbound are freed by unbind() alone.
  (void)run_until(
      [&] {
        std::erase_if(unsure, arrived);
        return unsure.empty();
      },
      kLinger);
}

Result<void> Engine::unbind(std::uint32_t index, bool wait_for_directory) {
  LocalEndpoint& local = *endpoints_[index];
  if (!local.open) return fail(Errc::closed);
  local.open = false;  // nothing new, and no channel is freed behind our back
  for (auto& [key, grant] : local.grants) grant->revoked = true;
  recall(local);
  for (const auto& push : std::vector<std::shared_ptr<Push>>(pushes_)) {
    if (push->owner == &local) finish_copy(push->copy, fail(Errc::closed));
  }
  linger(local);
  if (is_open_to_peers(local)) (void)run_until([&] { return !is_open_to_peers(local); }, kLinger);
  // One that has left may have come back as another.
  if (const auto known = by_id_.find(local.id); known->second == &local) by_id_.erase(known);
  std::vector<Channel*> channels;
  for (const auto& [remote, channel] : local.channels) channels.push_back(channel);
  if (local.mirror != nullptr) channels.push_back(local.mirror);
  for (Channel* channel : channels) {
    if (channel->core.attached() && channel->connection != nullptr) {
      pump(*channel);
      if (channel->owes_ack()) send_ack(*channel);
      wire::Header header;
      header.type = wire::Type::closed;
      header.channel = channel->core.peer_index();
      post_control(*channel->connection, header, {});
    }
    fail_channel(*channel, Error{Errc::closed, "the endpoint was unbound", local.name});
  }
  for (const auto& [connection, link] : connections_) connection->flush();
  // Copies in flight still read granted memory; its owner is told when that is over.
  const auto users_gone = [&] {
    return std::all_of(local.grants.begin(), local.grants.end(),
                       [](const auto& entry) { return entry.second->users == 0; });
  };
  if (!users_gone() && !run_until(users_gone, std::chrono::seconds(1))) {
    cut_connections({});
    (void)run_until(users_gone, std::chrono::seconds(1));
  }
  for (Channel* channel : channels) {
    if (channel->local == &local) free_channel(*channel);
  }
  counters_->endpoints.set(by_id_.size());
  Result<void> result;
  if (local.gate == LocalEndpoint::Gate::left) {
    // Its name is another process's.
  } else if (wait_for_directory) {
    result =
        ask<void>([&](Resolver::Done<void> done) { resolver_->unbind(local.id, std::move(done)); },
                  std::chrono::seconds(5));
  } else {
    resolver_->unbind(local.id, [](Result<void>) {});
  }
  local.names.clear();
  local.grants.clear();
  return result;
}

// --- peers -------------------------------------------------------------------------------------

Remote Engine::remote_of(const Channel& channel) const noexcept {
  return Remote(channel.remote, channel.index, channel.serial);
}

Channel* Engine::open_channel(LocalEndpoint& local, EndpointId remote, std::uint64_t lineage,
                              std::uint32_t epoch) {
  if (const auto known = local.channels.find(remote); known != local.channels.end()) {
    return known->second;
  }
  Channel* channel = make_channel(local, remote);
  if (channel == nullptr) return nullptr;
  channel->core.expect_peer(lineage, epoch);
  local.channels.emplace(remote, channel);
  return channel;
}

/// Null when the engine has as many channels as frames can name.
Channel* Engine::make_channel(LocalEndpoint& local, EndpointId remote) {
  std::uint32_t index;
  if (!free_channels_.empty()) {
    index = free_channels_.back();
    free_channels_.pop_back();
  } else {
    if (channels_.size() == Channel::kMaxChannels) return nullptr;
    index = static_cast<std::uint32_t>(channels_.size());
    channels_.emplace_back();
    uses_.emplace_back();
  }
  channels_[index] = std::make_unique<Channel>(
      channel::ChannelCore(local.lineage, local.epoch, local.id < remote));
  Channel& channel = *channels_[index];
  channel.remote = remote;
  channel.local = &local;
  channel.index = index;
  channel.serial = ++uses_[index].serial;
  channel.parked = local.gate == LocalEndpoint::Gate::arriving;
  counters_->channels.set(channels_.size() - free_channels_.size());
  return &channel;
}

void Engine::free_channel(Channel& channel) {
  LocalEndpoint& local = *channel.local;
  if (channel.link != nullptr) std::erase(channel.link->channels, &channel);
  std::erase(pump_, &channel);
  std::erase(ack_due_, &channel);
  std::erase(local.notified, &channel);
  if (channel.in_ready) {
    Channel* previous = nullptr;
    for (Channel* at = local.ready_head; at != nullptr; previous = at, at = at->next_ready) {
      if (at != &channel) continue;
      (previous == nullptr ? local.ready_head : previous->next_ready) = at->next_ready;
      if (local.ready_tail == at) local.ready_tail = previous;
      break;
    }
  }
  if (channel.mirror) {
    local.mirror = nullptr;
  } else {
    local.channels.erase(channel.remote);
  }
  const std::uint32_t index = channel.index;
  uses_[index] = {channel.serial + 1, channel.all_received};
  free_channels_.push_back(index);
  channels_[index].reset();
  counters_->channels.set(channels_.size() - free_channels_.size());
}

Result<Remote> Engine::reach(LocalEndpoint& local, const EndpointPlace& place) {
  if (local.lost) return tl::make_unexpected(local.farewell());
  if (place.gone()) return fail(Errc::not_found, "nothing alive is bound to it", place.name);
  if (place.id.dc != local.id.dc) {
    return fail(Errc::permission_denied, "the endpoint is in another DC; messages never cross DCs",
                place.name);
  }
  const auto known = local.channels.find(place.id);
  if (known != local.channels.end() && known->second->link != nullptr) {
    return remote_of(*known->second);
  }
  auto address = fabric::EngineAddress::parse(place.engine_address);
  if (!address) return tl::make_unexpected(address.error());
  Channel* channel = open_channel(local, place.id, place.lineage, place.epoch);
  if (channel == nullptr) return fail(Errc::no_memory, "an engine has at most 1,048,576 channels");
  if (channel->link == nullptr) join(*channel, link_to(*address, place.id.dc));
  return remote_of(*channel);
}

Result<Remote> Engine::lookup(std::uint32_t endpoint, std::string_view name, const Wait& wait) {
  LocalEndpoint& local = *endpoints_[endpoint];
  if (!local.open) return fail(Errc::closed);
  auto parsed = EndpointName::parse(name);
  if (!parsed) return tl::make_unexpected(parsed.error());
  if (auto place = resolver_->cached(name); place != nullptr && !place->gone()) {
    auto remote = reach(local, *place);
    // A channel that has ended says that the cache is behind: ask.
    if (!remote || !find(*remote)->dead) return remote;
  }
  auto place = ask<EndpointPlace>(
      [&](Resolver::Done<EndpointPlace> done) { resolver_->resolve(name, std::move(done)); }, wait);
  if (!place) return tl::make_unexpected(place.error());
  return reach(local, *place);
}

Result<Remote> Engine::lookup(std::uint32_t endpoint, EndpointId id, const Wait& wait) {
  LocalEndpoint& local = *endpoints_[endpoint];
  if (!local.open) return fail(Errc::closed);
  if (const auto known = local.channels.find(id); known != local.channels.end()) {
    if (!known->second->dead) return remote_of(*known->second);
    return fail(Errc::not_found, "the endpoint is gone", id.to_string());
  }
  auto place = ask<EndpointPlace>(
      [&](Resolver::Done<EndpointPlace> done) { resolver_->locate(id, std::move(done)); }, wait);
  if (!place) return tl::make_unexpected(place.error());
  return reach(local, *place);
}

Result<Remote> Engine::wait_bound(std::uint32_t endpoint, std::string_view name, const Wait& wait) {
  LocalEndpoint& local = *endpoints_[endpoint];
  Resolver::Ticket ticket{};
  auto place = ask<EndpointPlace>(
      [&](Resolver::Done<EndpointPlace> done) {
        ticket = resolver_->wait_bound(name, std::move(done));
      },
      wait);
  if (!place) {
    resolver_->cancel(ticket);
    return tl::make_unexpected(place.error());
  }
  return reach(local, *place);
}

Result<void> Engine::wait_unbound(std::uint32_t, std::string_view name, const Wait& wait) {
  Resolver::Ticket ticket{};
  auto gone = ask<void>(
      [&](Resolver::Done<void> done) { ticket = resolver_->wait_unbound(name, std::move(done)); },
      wait);
  if (!gone) resolver_->cancel(ticket);
  return gone;
}

Result<Remote> Engine::named(std::uint32_t endpoint, std::string_view name, const Wait& wait) {
  LocalEndpoint& local = *endpoints_[endpoint];
  const auto known = local.names.find(std::string(name));
  if (known != local.names.end()) {
    if (Channel* channel = find(known->second); channel != nullptr && !channel->dead) {
      return known->second;
    }
    local.names.erase(known);
  }
  auto remote = lookup(endpoint, name, wait);
  if (remote) local.names.emplace(name, *remote);
  return remote;
}

void Engine::on_endpoint_changed(const EndpointPlace& place) {
  // One of its own, that others took for lost while this node could not be reached: its name may be
  // another's already, and its peers were told. Whatever it did from now on would be a second life.
  if (place.state == EndpointState::dead) {
    const auto own = by_id_.find(place.id);
    if (own != by_id_.end() && own->second->gate != LocalEndpoint::Gate::left) {
      own->second->lost = true;
      leave(own->second->index);
    }
  }
  std::vector<Channel*> concerned;
  for (const auto& channel : channels_) {
    if (channel != nullptr && channel->remote == place.id && !channel->dead) {
      concerned.push_back(channel.get());
    }
  }
  for (Channel* channel : concerned) {
    located(*channel, place);
  }
}

}  // namespace godwit
