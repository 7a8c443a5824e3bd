// Engine: the image of an endpoint that moves, made where it parks and read where it arrives.
//
// The image holds what docs/channel.md says a channel moves with: windows and numbers, what is
// retained, the bits of notifications, and of the inbox what is small. The rest of that was not
// acknowledged, and the peer sends it again.
#include <algorithm>

#include "engine/engine.h"
#include "godwit/endpoints/image.pb.h"

namespace godwit {

namespace {

using channel::ChannelCore;
using channel::CoreImage;
using channel::ReceiveWindow;
using channel::Stream;
using endpoints::proto::ChannelImage;
using endpoints::proto::EndpointImage;
using endpoints::proto::FrameImage;
using endpoints::proto::IncomingImage;
using Gate = LocalEndpoint::Gate;

constexpr std::uint32_t kSchema = 1;
/// Bytes of payloads in all inboxes of an endpoint that move with it: every one of them is on the
/// way between two closed gates.
constexpr std::size_t kInboxAlong = 64 << 10;

void put_frame(FrameImage& image, fabric::Frame& frame) {
  const wire::Header header = wire::header_of(frame.header);
  image.set_type(static_cast<std::uint32_t>(header.type));
  image.set_flags(header.flags);
  image.set_status(header.status);
  image.set_call(header.call);
  const std::span<std::byte> payload = frame.payload();
  image.set_payload(payload.data(), payload.size());
}

/// What has arrived and was not taken goes along, as long as it is small and `room` bytes are left:
/// nobody has to send it again. What does not is the peer's still.
void put_inbox(IncomingImage& image, const Channel& channel, std::size_t& room) {
  const channel::ReceiveWindow& window = channel.core.in(Stream::messages);
  fabric::Frame* message = channel.messages.front();
  fabric::Frame* request = channel.requests.front();
  for (channel::Number number = window.received(); number != window.arrived(); ++number) {
    if (window.is_taken(number)) continue;
    const auto is_next = [&](fabric::Frame* frame) {
      return frame != nullptr && wire::header_of(frame->header).number == number;
    };
    fabric::Frame*& next = is_next(message) ? message : request;
    if (!is_next(next)) return;
    const std::size_t size = next->payload().size();
    if (size > fabric::kSmallPayload || size > room) return;
    room -= size;
    put_frame(*image.add_inbox(), *next);
    next = next->next;
  }
}

void put_channel(ChannelImage& image, const Channel& channel, std::size_t& room) {
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
    if (stream == 0) put_inbox(incoming, channel, room);
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
    auto& in = core.in[stream];
    std::copy(incoming.taken().begin(), incoming.taken().end(), in.taken.begin());
    in.received = in.arrived = incoming.received();
    const ReceiveWindow window = ReceiveWindow::restored(in.received, in.arrived, in.taken);
    const int most = stream == 0 ? static_cast<int>(channel::kWindow) : 0;
    if (incoming.inbox_size() > most) return corrupt("an inbox");
    for (int left = incoming.inbox_size(); left > 0; ++in.arrived) {
      if (in.arrived - in.received == channel::kWindow) return corrupt("an inbox");
      if (!window.is_taken(in.arrived)) --left;
    }
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
  std::size_t room = kInboxAlong;
  for (Channel* channel : channels_of(local)) {
    channel->parked = true;
    channel->redirect = false;
    if (channel->dead) continue;
    if (channel->connection != nullptr) detach(*channel);
    put_channel(*image.add_channels(), *channel, room);
  }
  for (const auto& [key, grant] : local.grants) {
    if (grant->revoked) continue;
    if (grant->part) {
      const auto whole = local.grants.find(grant->part->whole);
      if (whole == local.grants.end() || whole->second->revoked) continue;
    }
    auto& to = *image.add_grants();
    to.set_key(key);
    to.set_length(grant->length);
    to.set_rights(static_cast<std::uint32_t>(grant->rights));
    if (grant->peer) {
      to.set_peer_slot(grant->peer->slot);
      to.set_peer_generation(grant->peer->generation);
    }
    if (grant->part) {
      to.set_whole(grant->part->whole);
      to.set_offset(grant->part->offset);
      to.set_asker_slot(grant->part->asker.slot);
      to.set_asker_generation(grant->part->asker.generation);
    }
  }
  return image.SerializeAsString();
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
    for (const FrameImage& frame : channel.incoming(0).inbox()) {
      if (!fits(frame, Stream::messages)) return corrupt("a message");
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
    channel::Number number = core.in[0].received;
    for (const FrameImage& image_of : from->incoming(0).inbox()) {
      while (channel.core.in(Stream::messages).is_taken(number)) ++number;
      auto frame = restore(image_of, number++);
      if (!frame) return refuse(frame.error());
      wire::Header header = wire::header_of((*frame)->header);
      header.channel = channel.wire_index();
      wire::set_header((*frame)->header, header);
      const bool request = header.type == wire::Type::request;
      (request ? channel.requests : channel.messages).push(std::move(*frame));
      make_ready(channel);
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
    if (from.asker_generation() != 0) {
      const EndpointId asker{place.id.dc, from.asker_slot(), from.asker_generation()};
      grant->part = {from.whole(), from.offset(), asker};
    }
    local.grants[from.key()] = std::move(grant);
  }
  return endpoint;
}

}  // namespace godwit
