// Engine: what a move needs of an endpoint: its gate, its image, and its life at a new place.
//
// The image holds what docs/channel.md says a channel moves with: windows and numbers, what is
// retained, the bits of notifications. The inbox stays behind: it was not acknowledged.
#include <algorithm>

#include "engine/engine.h"
#include "godwit/endpoints/image.pb.h"

namespace godwit {

namespace {

using channel::ChannelCore;
using channel::CoreImage;
using channel::Stream;
using endpoints::proto::ChannelImage;
using endpoints::proto::EndpointImage;
using endpoints::proto::FrameImage;
using Gate = LocalEndpoint::Gate;

constexpr std::uint32_t kSchema = 1;

void put_frame(FrameImage& image, fabric::Frame& frame) {
  const wire::Header header = wire::header_of(frame.header);
  image.set_type(static_cast<std::uint32_t>(header.type));
  image.set_flags(header.flags);
  image.set_status(header.status);
  image.set_call(header.call);
  const std::span<std::byte> payload = frame.payload();
  image.set_payload(payload.data(), payload.size());
}

void put_channel(ChannelImage& image, const Channel& channel) {
  image.set_slot(channel.remote.slot);
  image.set_generation(channel.remote.generation);
  image.set_mirror(channel.mirror);
  if (channel.link != nullptr && !channel.link->address.node.empty()) {
    image.set_peer_address(channel.link->address.serialize());
  }
  const CoreImage core = channel.core.image();
  image.set_session(core.session);
  image.set_peer_lineage(core.peer_lineage);
  image.set_peer_epoch(core.peer_epoch);
  for (int stream = 0; stream < 2; ++stream) {
    auto& outgoing = *image.add_outgoing();
    outgoing.set_acknowledged(core.out[stream].acknowledged);
    for (fabric::Frame* frame = channel.out[static_cast<std::size_t>(stream)].retained.front();
         frame != nullptr; frame = frame->next) {
      put_frame(*outgoing.add_retained(), *frame);
    }
    auto& incoming = *image.add_incoming();
    incoming.set_received(core.in[stream].received);
    for (const std::uint64_t word : core.in[stream].taken) incoming.add_taken(word);
  }
  for (fabric::Frame* frame = channel.replies_waiting.front(); frame != nullptr;
       frame = frame->next) {
    put_frame(*image.add_waiting_replies(), *frame);
  }
  image.set_notify_waiting(channel.notify_waiting);
  image.set_notify_flying(channel.notify_flying);
  image.set_notify_number(channel.notify_number);
  image.set_notify_seen(channel.notify_seen);
  image.set_notify_arrived(channel.notify_arrived);
}

tl::unexpected<Error> corrupt(std::string_view what) {
  return fail(Errc::protocol_error, "an endpoint's image is damaged: " + std::string(what));
}

Result<CoreImage> core_of(const ChannelImage& image) {
  if (image.outgoing_size() != 2 || image.incoming_size() != 2) return corrupt("streams");
  CoreImage core;
  core.session = image.session();
  core.peer_lineage = image.peer_lineage();
  core.peer_epoch = image.peer_epoch();
  for (int stream = 0; stream < 2; ++stream) {
    const auto& outgoing = image.outgoing(stream);
    const auto& incoming = image.incoming(stream);
    if (outgoing.retained_size() > static_cast<int>(channel::kWindow)) return corrupt("a window");
    if (incoming.taken_size() != static_cast<int>(core.in[stream].taken.size()))
      return corrupt("a window");
    core.out[stream] = {outgoing.acknowledged(),
                        static_cast<std::uint32_t>(outgoing.retained_size())};
    core.in[stream].received = incoming.received();
    std::copy(incoming.taken().begin(), incoming.taken().end(), core.in[stream].taken.begin());
  }
  return core;
}

bool fits(const FrameImage& image, Stream stream) {
  const auto type = static_cast<wire::Type>(image.type());
  const bool right = stream == Stream::replies
                         ? type == wire::Type::reply
                         : type == wire::Type::message || type == wire::Type::request;
  return right && image.flags() <= 0xff && image.status() <= 0xffff &&
         image.payload().size() <= kMaxMessage;
}

}  // namespace

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
    // The peer touches the memory by itself, wherever the endpoint thinks it is. A streamed copy
    // is cut, and goes on at the new place.
    leases += transfer->lease && transfer->channel != nullptr && transfer->channel->local == &local;
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

/// Leaves every session; what is left is the endpoint as it moves. The gate must be shut and
/// nothing busy.
std::string Engine::park(std::uint32_t endpoint) {
  LocalEndpoint& local = *endpoints_[endpoint];
  local.gate = Gate::parked;
  local.attention = true;
  EndpointImage image;
  image.set_schema(kSchema);
  image.set_dc(local.id.dc);
  image.set_slot(local.id.slot);
  image.set_generation(local.id.generation);
  image.set_name(local.name);
  image.set_lineage(local.lineage);
  image.set_epoch(local.epoch);
  for (Channel* channel : channels_of(local)) {
    channel->parked = true;
    channel->redirect = false;
    if (channel->dead) continue;
    if (channel->connection != nullptr) detach(*channel);
    put_channel(*image.add_channels(), *channel);
  }
  for (const auto& [key, grant] : local.grants) {
    if (grant->revoked) continue;
    auto& to = *image.add_grants();
    to.set_key(key);
    to.set_length(grant->length);
    to.set_rights(static_cast<std::uint32_t>(grant->rights));
    if (grant->peer) {
      to.set_peer_slot(grant->peer->slot);
      to.set_peer_generation(grant->peer->generation);
    }
  }
  return image.SerializeAsString();
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

/// The endpoint of an image, behind a shut gate.
Result<Endpoint> Engine::install(std::string_view bytes) {
  EndpointImage image;
  if (!image.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return corrupt("bytes");
  if (image.schema() > kSchema) {
    return fail(Errc::version_mismatch, "the endpoint comes from a newer build than this");
  }
  EndpointPlace place;
  place.id = {image.dc(), image.slot(), image.generation()};
  place.name = image.name();
  place.lineage = image.lineage();
  place.epoch = image.epoch();
  if (!place.id) return corrupt("its id");
  if (!place.name.empty() && !EndpointName::parse(place.name)) return corrupt("its name");
  if (const auto known = by_id_.find(place.id); known != by_id_.end()) {
    if (known->second->gate != Gate::left) {
      return fail(Errc::name_taken, "the endpoint is in this process already", place.name);
    }
  }
  // Everything is made before anything is installed.
  std::vector<std::pair<CoreImage, const ChannelImage*>> cores;
  for (const ChannelImage& channel : image.channels()) {
    auto core = core_of(channel);
    if (!core) return tl::make_unexpected(core.error());
    for (const Stream stream : {Stream::messages, Stream::replies}) {
      for (const FrameImage& frame : channel.outgoing(static_cast<int>(stream)).retained()) {
        if (!fits(frame, stream)) return corrupt("a message");
      }
    }
    for (const FrameImage& frame : channel.waiting_replies()) {
      if (!fits(frame, Stream::replies)) return corrupt("a reply");
    }
    if (channel.generation() == 0) return corrupt("a peer's id");
    cores.emplace_back(*core, &channel);
  }

  Endpoint endpoint = install(place);
  LocalEndpoint& local = *endpoints_[endpoint.index_];
  local.gate = Gate::arriving;
  local.attention = true;
  const auto refuse = [&](Error error) -> tl::unexpected<Error> {
    leave(local.index);
    return tl::make_unexpected(std::move(error));
  };
  const auto restore = [&](const FrameImage& from,
                           channel::Number number) -> Result<fabric::FramePtr> {
    auto frame = make_frame(bytes_of(from.payload()));
    if (!frame) return frame;
    wire::Header header;
    header.type = static_cast<wire::Type>(from.type());
    header.flags = static_cast<std::uint8_t>(from.flags());
    header.status = static_cast<std::uint16_t>(from.status());
    header.number = number;
    header.call = from.call();
    wire::set_header((*frame)->header, header);
    return frame;
  };
  for (const auto& [core, from] : cores) {
    const EndpointId remote{place.id.dc, from->slot(), from->generation()};
    const bool known = from->mirror() ? local.mirror != nullptr : local.channels.contains(remote);
    if (known) return refuse(corrupt("two channels to one peer").value());
    Channel* made = make_channel(local, remote);
    if (made == nullptr)
      return refuse({Errc::no_memory, "an engine has at most 1,048,576 channels", {}});
    Channel& channel = *made;
    channel.core = ChannelCore(local.lineage, local.epoch, local.id < remote, core);
    channel.mirror = from->mirror();
    if (channel.mirror) {
      local.mirror = &channel;
    } else {
      local.channels.emplace(remote, &channel);
    }
    for (std::size_t stream = 0; stream < 2; ++stream) {
      const auto& outgoing = from->outgoing(static_cast<int>(stream));
      channel::Number number = outgoing.acknowledged();
      for (const FrameImage& image_of : outgoing.retained()) {
        auto frame = restore(image_of, number++);
        if (!frame) return refuse(frame.error());
        channel.out[stream].retained.push(std::move(*frame));
      }
      channel.out[stream].unsent = channel.out[stream].retained.front();
      channel.told[stream] = from->incoming(static_cast<int>(stream)).received();
    }
    for (const FrameImage& reply : from->waiting_replies()) {
      auto frame = restore(reply, 0);
      if (!frame) return refuse(frame.error());
      channel.replies_waiting.push(std::move(*frame));
    }
    channel.notify_waiting = from->notify_waiting();
    channel.notify_flying = from->notify_flying();
    channel.notify_number = from->notify_number();
    channel.notify_seen = from->notify_seen();
    channel.notify_arrived = from->notify_arrived();
    if (channel.notify_arrived != 0) local.notified.push_back(&channel);
    if (auto address = fabric::EngineAddress::parse(from->peer_address())) {
      join(channel, link_to(*address, place.id.dc));
    }
  }
  for (const auto& from : image.grants()) {
    auto grant = std::make_shared<Grant>();
    grant->length = from.length();
    grant->rights = static_cast<Rights>(from.rights());
    if (from.peer_generation() != 0) {
      grant->peer = EndpointId{place.id.dc, from.peer_slot(), from.peer_generation()};
    }
    local.grants[from.key()] = std::move(grant);
  }
  return endpoint;
}

/// Attaches to the peers while the gate is still shut: what they send again is here when it opens.
/// Should it never open, the old place attaches to them above these sessions.
void Engine::receive_peers(std::uint32_t endpoint) {
  for (Channel* channel : channels_of(*endpoints_[endpoint])) {
    if (channel->mirror) continue;
    channel->redirect = true;
    serve(*channel);
  }
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
      if (channel->core.attached()) {
        // A peer whose request is here already is told after the answer: all it can miss is what
        // could not wait behind the gate.
        channel->grant_untold = true;
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
    serve(*channel);
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
