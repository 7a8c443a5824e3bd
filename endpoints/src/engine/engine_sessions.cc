// Engine: sessions of channels: attaching, probing, and the peer's death.
#include <algorithm>

#include "engine/engine.h"
#include "godwit/fabric/handshake.h"

namespace godwit {

using channel::AttachVerdict;
using channel::ChannelCore;

bool Engine::post_control(fabric::Connection& connection, const wire::Header& header,
                          std::span<const std::byte> payload) {
  fabric::FramePtr frame = fabric_->frames().allocate(static_cast<std::uint32_t>(payload.size()));
  if (frame == nullptr) return false;
  wire::set_header(frame->header, header);
  std::copy(payload.begin(), payload.end(), frame->small());
  return connection.post(frame) == fabric::SendStatus::sent;
}

void Engine::on_frame(fabric::Connection& connection, const fabric::FrameHeader& frame,
                      std::span<const std::byte> payload, fabric::Buffer large) {
  const wire::Header header = wire::header_of(frame);
  if (header.type >= wire::Type::attach && header.type <= wire::Type::refused) [[unlikely]] {
    on_control(connection, header, payload);
    return;
  }
  // Frames count only on the connection of the channel's present session.
  Channel* channel = named_by(header.channel);
  if (channel == nullptr || channel->connection != &connection || channel->dead) [[unlikely]]
    return;
  if (!channel->core.attached()) [[unlikely]]
    return;

  switch (header.type) {
    case wire::Type::message:
    case wire::Type::request:
    case wire::Type::reply:
      on_acks(*channel, header);
      on_sequenced(*channel, frame, header, payload, std::move(large));
      return;
    case wire::Type::ack:
      on_acks(*channel, header);
      return;
    case wire::Type::notify:
      on_notify(*channel, header, payload);
      return;
    case wire::Type::notify_ack:
      if (header.number == channel->notify_number && channel->notify_flying != 0) {
        channel->notify_flying = 0;
        if (channel->notify_waiting != 0 && !channel->parked) send_notification(*channel);
      }
      return;
    case wire::Type::closed:
      fail_channel(*channel,
                   Error{Errc::endpoint_died, "it was unbound", channel->remote.to_string()});
      return;
    case wire::Type::probe:
      on_probe(*channel, header);
      return;
    case wire::Type::report: {
      wire::Attach report;
      if (wire::decode(payload, report)) on_report(*channel, header, report);
      return;
    }
    case wire::Type::copy_request: {
      wire::CopyRequest request;
      if (wire::decode(payload, request)) on_copy_request(*channel, header, request);
      return;
    }
    case wire::Type::copy_answer: {
      wire::CopyAnswer answer;
      if (wire::decode(payload, answer)) on_copy_answer(*channel, header, answer);
      return;
    }
    case wire::Type::copy_data:
      on_copy_data(*channel, frame, header, payload);
      return;
    case wire::Type::copy_end:
      on_copy_end(*channel, header);
      return;
    case wire::Type::copy_lease: {
      wire::CopyLease lease;
      if (wire::decode(payload, lease)) on_copy_lease(*channel, header, lease);
      return;
    }
    case wire::Type::copy_recall:
      on_copy_recall(*channel, header);
      return;
    default:
      // A peer of this version sends no other type: its bytes cannot be trusted any more.
      connection.close(Error{Errc::protocol_error, "a channel frame of unknown type", {}});
      return;
  }
}

fabric::Buffer Engine::place(fabric::Connection& connection, const fabric::FrameHeader& frame) {
  const wire::Header header = wire::header_of(frame);
  if (header.type == wire::Type::copy_data) {
    return place_data(connection, header, frame.length);
  }
  fabric::Buffer buffer = fabric_->arena().allocate(frame.length);
  if (!buffer.empty()) return buffer;
  // The arena is full of messages that the application has not taken; the heap bears the rest,
  // which the windows bound.
  auto* bytes = new (std::nothrow) std::byte[frame.length];
  if (bytes == nullptr) return {};
  return fabric::Buffer(
      bytes, frame.length,
      [](void* memory, std::uint64_t) noexcept { delete[] static_cast<std::byte*>(memory); },
      bytes);
}

void Engine::on_control(fabric::Connection& connection, const wire::Header& header,
                        std::span<const std::byte> payload) {
  if (header.type == wire::Type::refused) {
    wire::Refused refused;
    if (wire::decode(payload, refused)) on_refused(connection, header, refused);
    return;
  }
  wire::Attach attach;
  const bool may_carry = header.type == wire::Type::attach && payload.size() > sizeof attach &&
                         (connection.peer().features & fabric::Handshake::kAboard) != 0;
  const auto aboard = payload.subspan(may_carry ? sizeof attach : payload.size());
  if (!wire::decode(payload.first(payload.size() - aboard.size()), attach) ||
      !wire::is_aboard(aboard) || !attach.source || !attach.target ||
      attach.source.dc != connection.peer().dc || attach.target.dc != connection.peer().dc) {
    // A connection belongs to one DC: nothing else may pass over it.
    connection.close(Error{Errc::protocol_error, "an attach that does not fit its connection", {}});
    return;
  }
  if (header.type == wire::Type::attach) {
    on_attach(connection, attach, aboard);
  } else {
    on_attach_answer(connection, header, attach);
  }
}

// --- starting ----------------------------------------------------------------------------------

void Engine::start_session(Channel& channel, fabric::Connection& connection) {
  channel.connection = &connection;
  channel.grant_untold = false;  // the attach says the epoch
  wire::Attach attach = wire::to_wire(channel.core.start_session(channel.wire_index()),
                                      channel.local->id, channel.remote);
  std::array<std::byte, fabric::kSmallPayload> payload;
  std::size_t size = sizeof attach;
  if ((connection.peer().features & fabric::Handshake::kAboard) != 0) {
    attach.first_aboard = channel.core.out(Stream::replies).acknowledged();
    size += take_aboard(channel, std::span(payload).subspan(sizeof attach));
  }
  std::memcpy(payload.data(), &attach, sizeof attach);
  wire::Header header;
  header.type = wire::Type::attach;
  post_control(connection, header, std::span<const std::byte>(payload).first(size));
  // If it could not be posted, or is not answered, the timer starts another session; each waits
  // longer, for a peer may be further away than the first time-out.
  channel.backoff = std::clamp<std::chrono::milliseconds>(channel.backoff * 2, kAttachTimeout,
                                                          std::chrono::seconds(2));
  set_timer(channel, Clock::now() + channel.backoff);
}

/// Puts the oldest retained replies aboard an attach, as many as there is room for: the peer's
/// callers have them at once, and not a round trip later. Whether they have arrived, the answer
/// says. Returns their bytes.
std::size_t Engine::take_aboard(Channel& channel, std::span<std::byte> room) {
  Channel::Outgoing& out = channel.out[static_cast<std::size_t>(Stream::replies)];
  channel::SendWindow& window = channel.core.out(Stream::replies);
  window.rewind(window.acknowledged());
  out.unsent = out.retained.front();
  std::size_t size = 0;
  for (; out.unsent != nullptr; out.unsent = out.unsent->next) {
    const std::span<std::byte> bytes = out.unsent->payload();
    if (size + sizeof(wire::Aboard) + bytes.size() > room.size()) break;
    const wire::Header header = wire::header_of(out.unsent->header);
    const wire::Aboard aboard{header.call, header.status, static_cast<std::uint16_t>(bytes.size())};
    std::memcpy(room.data() + size, &aboard, sizeof aboard);
    size += sizeof aboard;
    std::ranges::copy(bytes, room.data() + size);
    size += bytes.size();
    window.transmit();
  }
  return size;
}

/// The replies aboard an attach that was accepted.
void Engine::unload(Channel& channel, const wire::Attach& attach,
                    std::span<const std::byte> aboard) {
  wire::Header header;
  header.type = wire::Type::reply;
  header.channel = channel.wire_index();
  header.number = attach.first_aboard;
  for (; !aboard.empty() && channel.connection != nullptr; ++header.number) {
    const auto [reply, bytes] = wire::next_aboard(aboard);
    header.call = reply.call;
    header.status = reply.status;
    fabric::FrameHeader frame{};
    frame.length = reply.length;
    wire::set_header(frame, header);
    on_sequenced(channel, frame, header, bytes, {});
  }
}

void Engine::refuse(fabric::Connection& connection, const wire::Attach& attach,
                    wire::RefusedReason reason, std::uint32_t session) {
  wire::Header header;
  header.type = wire::Type::refused;
  header.channel = attach.index;
  post_control(connection, header, wire::Refused{attach.target, attach.source, reason, session});
}

/// An endpoint that talks to itself has two channels, one for each end.
Channel* Engine::mirror_of(LocalEndpoint& local) {
  if (local.mirror == nullptr) {
    local.mirror = make_channel(local, local.id);
    if (local.mirror != nullptr) local.mirror->mirror = true;
  }
  return local.mirror;
}

void Engine::on_attach(fabric::Connection& connection, const wire::Attach& attach,
                       std::span<const std::byte> aboard) {
  const auto local = by_id_.find(attach.target);
  if (local == by_id_.end()) {
    refuse(connection, attach, wire::RefusedReason::gone, attach.session);
    return;
  }
  if (local->second->gate == LocalEndpoint::Gate::left) {
    const auto why = local->second->lost ? wire::RefusedReason::gone : wire::RefusedReason::moved;
    refuse(connection, attach, why, attach.session);
    return;
  }
  // The new place attaches, or this one again: until then there is nothing true to say.
  if (local->second->gate == LocalEndpoint::Gate::parked) return;
  const bool to_itself = attach.source == attach.target;
  Channel* opened = to_itself
                        ? mirror_of(*local->second)
                        : open_channel(*local->second, attach.source, attach.lineage, attach.epoch);
  if (opened == nullptr) return;  // no room: the peer tries again until its caller's deadline
  Channel& channel = *opened;
  if (channel.dead) {
    refuse(connection, attach, wire::RefusedReason::lineage_lost, attach.session);
    return;
  }
  if (local->second->gate == LocalEndpoint::Gate::arriving) {
    channel.core.put_off(wire::from_wire(attach));
    if (channel.core.attached()) return;
    join(channel, *connections_.at(&connection));
    return detach(channel);
  }
  const ChannelCore::Effect effect = channel.core.on_attach(wire::from_wire(attach));
  switch (effect.verdict) {
    case AttachVerdict::accept: {
      join(channel, *connections_.at(&connection));
      drop_transfers(channel);
      channel.connection = &connection;
      channel.grant_untold = false;     // the answer says the epoch
      unload(channel, attach, aboard);  // and that these have arrived
      if (channel.connection == nullptr) return;
      wire::Header header;
      header.type = wire::Type::attach_answer;
      header.channel = attach.index;
      post_control(connection, header,
                   wire::to_wire(channel.core.report(channel.wire_index()), channel.local->id,
                                 channel.remote));
      apply(channel, effect, true);
      return;
    }
    case AttachVerdict::ignore:
      return;
    case AttachVerdict::superseded:
      refuse(connection, attach, wire::RefusedReason::superseded, channel.core.session());
      return;
    case AttachVerdict::stale_epoch:
      refuse(connection, attach, wire::RefusedReason::stale_epoch, attach.session);
      return;
    case AttachVerdict::lineage_lost:
      refuse(connection, attach, wire::RefusedReason::lineage_lost, attach.session);
      fail_channel(channel,
                   Error{Errc::endpoint_died, "it lost its memory", channel.remote.to_string()});
      return;
    case AttachVerdict::invalid:
      // One of us has forgotten what the other remembers: this channel cannot be continued.
      refuse(connection, attach, wire::RefusedReason::lineage_lost, attach.session);
      fail_channel(channel,
                   Error{Errc::endpoint_died, "it lost its memory", channel.remote.to_string()});
      return;
  }
}

void Engine::on_attach_answer(fabric::Connection& connection, const wire::Header& header,
                              const wire::Attach& attach) {
  Channel* channel = named_by(header.channel);
  if (channel == nullptr || channel->connection != &connection ||
      channel->remote != attach.source || channel->local->id != attach.target || channel->dead) {
    return;
  }
  const ChannelCore::Effect effect = channel->core.on_attach_answer(wire::from_wire(attach));
  if (effect.verdict == AttachVerdict::accept) {
    drop_transfers(*channel);
    apply(*channel, effect, true);
    if (channel->grant_untold) set_timer(*channel, Clock::now() + kGrantDelay);
  } else if (effect.verdict == AttachVerdict::stale_epoch) {
    detach(*channel);
    locate(*channel);
  } else if (effect.verdict == AttachVerdict::lineage_lost) {
    fail_channel(*channel,
                 Error{Errc::endpoint_died, "it lost its memory", channel->remote.to_string()});
  } else if (effect.verdict == AttachVerdict::invalid) {
    connection.close(Error{Errc::protocol_error, "an attach that contradicts the channel", {}});
  }
}

void Engine::on_refused(fabric::Connection& connection, const wire::Header& header,
                        const wire::Refused& refused) {
  Channel* channel = named_by(header.channel);
  if (channel == nullptr || channel->connection != &connection ||
      channel->remote != refused.source || channel->dead) {
    return;
  }
  if (refused.reason == wire::RefusedReason::superseded) {
    if (channel->core.on_superseded(refused.session)) start_session(*channel, connection);
    return;
  }
  if (channel->core.session() != refused.session) return;
  // The peer's own attach has overtaken the one that it refuses; their numbers may be equal.
  if (refused.reason == wire::RefusedReason::stale_epoch && channel->core.attached()) return;
  if (refused.reason == wire::RefusedReason::lineage_lost) {
    fail_channel(*channel,
                 Error{Errc::endpoint_died, "it lost its memory", channel->remote.to_string()});
    return;
  }
  // Gone from there: unbound, moved, or not there yet, for others may learn of a bind before its
  // owner does. The directory knows which; while it says that the endpoint is there, ask again.
  detach(*channel);
  locate(*channel);
  set_timer(*channel, Clock::now() + kAskAgain);
}

/// A session has begun, or the peer told what it lacks: the queues follow the windows.
void Engine::apply(Channel& channel, const ChannelCore::Effect& effect, bool in_new_session) {
  for (int stream = 0; stream < 2; ++stream) {
    Channel::Outgoing& out = channel.out[static_cast<std::size_t>(stream)];
    for (std::uint32_t i = 0; i < effect.freed[stream]; ++i) out.retained.pop();
    counters_->retransmissions.add(effect.resent[stream]);
    const channel::SendWindow& window = channel.core.out(static_cast<Stream>(stream));
    fabric::Frame* frame = out.retained.front();
    for (Number number = window.acknowledged(); number != window.sent(); ++number)
      frame = frame->next;
    out.unsent = frame;
    channel.told[stream] = channel.core.in(static_cast<Stream>(stream)).received();
  }
  channel.backoff = std::chrono::milliseconds(0);
  channel.unanswered = 0;
  channel.redirect = false;
  if (!channel.replies_waiting.empty() && !channel.parked) send_waiting_replies(channel);
  const bool notifies = channel.notify_waiting != 0 && !channel.parked;
  if (channel.notify_flying != 0 || notifies) send_notification(channel);
  if (channel.copies != 0) restart_copies(channel, in_new_session);
  if (channel.has_unsent()) want_pump(channel);
  if (channel.wanted()) set_timer(channel, Clock::now() + kProbeInterval);
}

void Engine::detach(Channel& channel) {
  channel.connection = nullptr;
  channel.core.on_detached();
  channel.grant_untold = false;
  suspend_transfers(channel);
}

/// What stands in the way of a peer that does not answer, for the error of whoever gave up; empty
/// if it is connected.
std::string Engine::why_silent(const Channel& channel) const {
  if (channel.core.attached()) return {};
  if (channel.link == nullptr) return "it has not been located yet";
  const PeerLink& link = *channel.link;
  if (link.connection != nullptr) return "connected, but the endpoint does not answer";
  if (!link.last_error.message.empty()) return "no connection: " + link.last_error.message;
  return "no connection yet";
}

// --- probing -----------------------------------------------------------------------------------

void Engine::on_timer(Channel& channel, Clock::time_point now) {
  if (channel.dead) return;
  if (now >= channel.ends) return end(channel);
  if (channel.grant_untold && channel.core.attached()) tell_grant(channel);
  expire_calls(channel, now);
  const bool attaching = channel.core.state() == ChannelCore::State::attaching;
  if (!channel.wanted()) {
    if (attaching) detach(channel);  // nobody answered, and nobody asks any more
    return;
  }
  if (channel.core.state() == ChannelCore::State::detached) {
    serve(channel);
    // Nothing else wakes a channel whose way is being dialled or asked for.
    set_timer(channel, now + kMaxBackoff);
    return;
  }
  if (attaching || channel.unanswered == kMaxUnanswered) {
    // A session that nobody answered, or that the peer has no knowledge of: a frame was lost.
    channel.unanswered = 0;
    start_session(channel, *channel.connection);
    return;
  }
  // Something is unacknowledged and nothing has moved since the last look: ask what has arrived.
  // The transports lose nothing on a living connection, so this is rare; a slow receiver costs one
  // frame.
  bool moved = false;
  for (int stream = 0; stream < 2; ++stream) {
    const Number acknowledged = channel.core.out(static_cast<Stream>(stream)).acknowledged();
    moved = moved || acknowledged != channel.probed_at[stream];
    channel.probed_at[stream] = acknowledged;
  }
  if (moved || channel.has_unsent()) {
    channel.backoff = std::chrono::milliseconds(0);
  } else {
    send_probe(channel);
    ++channel.unanswered;
    channel.backoff = std::clamp<std::chrono::milliseconds>(
        channel.backoff * 2, std::chrono::duration_cast<std::chrono::milliseconds>(kProbeInterval),
        std::chrono::seconds(2));
  }
  if (channel.has_unsent()) want_pump(channel);
  if (channel.notify_flying != 0) send_notification(channel);
  set_timer(channel, now + std::max<Clock::duration>(kProbeInterval, channel.backoff));
}

void Engine::send_report(Channel& channel, Number messages, Number replies, std::uint8_t flags) {
  wire::Header header;
  header.type = wire::Type::report;
  header.flags = flags;
  header.channel = channel.core.peer_index();
  header.number = messages;
  header.call = replies;
  post_control(
      *channel.connection, header,
      wire::to_wire(channel.core.report(channel.wire_index()), channel.local->id, channel.remote));
}

/// Asks what has arrived.
void Engine::send_probe(Channel& channel) {
  wire::Header header;
  header.type = wire::Type::probe;
  header.channel = channel.core.peer_index();
  header.number = channel.core.out(Stream::messages).sent();
  header.call = channel.core.out(Stream::replies).sent();
  post_control(*channel.connection, header, {});
}

void Engine::on_probe(Channel& channel, const wire::Header& header) {
  send_report(channel, header.number, header.call);
}

void Engine::on_report(Channel& channel, const wire::Header& header, const wire::Attach& report) {
  const channel::AttachState state = wire::from_wire(report);
  if (state.session != channel.core.session()) return;
  channel.unanswered = 0;
  std::copy(std::begin(state.arrived), std::end(state.arrived), std::begin(channel.reported));
  // What was transmitted after the probe may still be on its way: only what is missing of what came
  // before is lost.
  const bool lost = channel::distance(state.arrived[0], header.number) > 0 ||
                    channel::distance(state.arrived[1], header.call) > 0;
  // Behind its gate a place drops what cannot wait there: all of it goes again, once.
  const bool granted = (header.flags & wire::kGranted) != 0;
  if (!lost && !granted) {
    on_ack(channel, Stream::messages, state.received[0]);
    on_ack(channel, Stream::replies, state.received[1]);
    return;
  }
  const ChannelCore::Effect effect = channel.core.on_report(state);
  if (effect.verdict == AttachVerdict::accept) {
    apply(channel, effect, false);
  } else if (effect.verdict == AttachVerdict::invalid) {
    channel.connection->close(
        Error{Errc::protocol_error, "a report that contradicts the channel", {}});
  }
}

// --- the end -----------------------------------------------------------------------------------

/// The peer is gone for good: everybody who waits for it is told, once.
void Engine::fail_channel(Channel& channel, Error error) {
  if (std::exchange(channel.dead, true)) return;
  channel.connection = nullptr;
  channel.all_received = channel.all_acknowledged();
  channel.core.on_detached();
  drop_transfers(channel);
  end_parts(channel);
  fail_copies(channel, error);
  if (channel.calls != nullptr) {
    const channel::SendWindow& window = channel.core.out(Stream::messages);
    for (PendingCall*& entry : *channel.calls) {
      if (entry == nullptr) continue;
      Error told = error;
      told.outcome =
          window.was_transmitted(entry->number) ? Outcome::unknown : Outcome::not_executed;
      counters_->failed.add();
      complete(*std::exchange(entry, nullptr), tl::make_unexpected(std::move(told)));
    }
    channel.calls_waiting = 0;
  }
  for (Channel::Outgoing& out : channel.out) {
    out.unsent = nullptr;
    out.retained.clear();
  }
  channel.replies_waiting.clear();
  // What it had sent before is still received; afterwards nothing holds the channel. Deferred: the
  // caller may be walking a list of channels.
  post([this, index = channel.index, serial = channel.serial] {
    if (Channel* gone = find(index, serial)) free_if_done(*gone);
  });
}

}  // namespace godwit
