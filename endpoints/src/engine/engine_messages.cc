// Engine: send, receive, acknowledgements and notifications.
#include <algorithm>
#include <cstring>

#include "engine/engine.h"

namespace godwit {

// --- sending -----------------------------------------------------------------------------------

Result<fabric::FramePtr> Engine::make_frame(Bytes payload) {
  if (payload.size() <= fabric::kSmallPayload) {
    fabric::FramePtr frame = small_frame(payload);
    if (frame == nullptr) return fail(Errc::no_memory);
    return frame;
  }
  auto buffer = allocate(payload.size());
  if (!buffer) return tl::make_unexpected(buffer.error());
  std::memcpy(buffer->data(), payload.data(), payload.size());
  return make_frame(std::move(*buffer));
}

Result<fabric::FramePtr> Engine::make_frame(fabric::Buffer payload) {
  if (payload.size() > kMaxMessage) {
    return fail(Errc::too_large, "a message is limited to 16 MiB: use a grant");
  }
  if (payload.size() <= fabric::kSmallPayload) return make_frame(Bytes(payload.span()));
  fabric::FramePtr frame = fabric_->frames().allocate(0);
  if (frame == nullptr) return fail(Errc::no_memory);
  frame->header.length = static_cast<std::uint32_t>(payload.size());
  frame->large = std::move(payload);
  return frame;
}

/// Takes a slot of the stream's window, which must have one, and transmits if nothing is in the
/// way.
Engine::Number Engine::enqueue(Channel& channel, Stream stream, fabric::FramePtr frame,
                               wire::Type type, std::uint8_t flags, std::uint16_t status,
                               std::uint32_t call) {
  const Number number = channel.core.out(stream).accept();
  wire::Header header;
  header.type = type;
  header.flags = flags;
  header.status = status;
  header.number = number;
  header.call = call;
  wire::set_header(frame->header, header);
  Channel::Outgoing& out = channel.out[static_cast<std::size_t>(stream)];
  fabric::Frame* raw = frame.get();
  out.retained.push(std::move(frame));
  if (out.unsent == nullptr) {
    if (channel.core.attached() && transmit(channel, stream, *raw)) [[likely]]
      return number;
    out.unsent = raw;
    if (channel.core.attached()) {
      want_pump(channel);
    } else {
      serve(channel);
    }
  }
  return number;
}

/// Hands one retained frame to the connection, with the latest acknowledgements aboard.
bool Engine::transmit(Channel& channel, Stream stream, fabric::Frame& frame) {
  wire::Header header = wire::header_of(frame.header);
  header.channel = channel.core.peer_index();
  header.ack_messages = channel.core.in(Stream::messages).received();
  header.ack_replies = channel.core.in(Stream::replies).received();
  fabric::SendStatus status;
  if (frame.pins == 0) [[likely]] {
    wire::set_header(frame.header, header);
    status = channel.connection->send(frame);
  } else {
    // An earlier transmission still lies in some connection's queue and must not change there.
    const std::span<std::byte> payload = frame.payload();
    fabric::FramePtr copy = nullptr;
    if (payload.size() <= fabric::kSmallPayload) {
      copy = fabric_->frames().allocate(frame.header.length);
      if (copy == nullptr) return false;
      std::ranges::copy(payload, copy->small());
    } else {
      auto made = make_frame(Bytes(payload));
      if (!made) return false;
      copy = std::move(*made);
    }
    wire::set_header(copy->header, header);
    status = channel.connection->post(copy);
  }
  if (status != fabric::SendStatus::sent) return false;
  channel.core.out(stream).transmit();
  channel.told[0] = header.ack_messages;
  channel.told[1] = header.ack_replies;
  if (channel.timer == Clock::time_point::max()) [[unlikely]] {
    set_timer(channel, Clock::now() + kProbeInterval);
  }
  return true;
}

void Engine::pump(Channel& channel) {
  for (const Stream stream : {Stream::replies, Stream::messages}) {
    Channel::Outgoing& out = channel.out[static_cast<std::size_t>(stream)];
    while (out.unsent != nullptr) {
      if (!channel.core.attached() || channel.connection == nullptr) return;
      if (!transmit(channel, stream, *out.unsent)) return;
      out.unsent = out.unsent->next;
    }
  }
}

void Engine::want_pump(Channel& channel) {
  if (std::exchange(channel.in_pump, true)) return;
  pump_.push_back(&channel);
}

void Engine::run_pump() {
  pumping_.swap(pump_);
  for (Channel* channel : pumping_) {
    channel->in_pump = false;
    pump(*channel);
    if (channel->has_unsent() && channel->core.attached()) want_pump(*channel);
  }
  pumping_.clear();
}

/// The channel, once its window has a slot. `wait` null: would_block instead of waiting.
Result<Channel*> Engine::wait_for_room(const Remote& to, const Wait* wait) {
  Channel* channel = find(to);
  const auto ended = [&] { return channel == nullptr || channel->dead; };
  const auto why = [&] {
    const bool left = channel != nullptr && channel->local->gate == LocalEndpoint::Gate::left &&
                      !channel->local->lost;
    return fail(left ? Errc::moved : Errc::endpoint_died, {}, to.id().to_string());
  };
  if (ended()) [[unlikely]]
    return why();
  if (!channel->parked && !channel->core.out(Stream::messages).full()) [[likely]]
    return channel;
  counters_->back_pressure.add();
  if (wait == nullptr) return fail(Errc::would_block);
  auto done = run_until(
      [&] {
        channel = find(to);
        return ended() || (!channel->parked && !channel->core.out(Stream::messages).full());
      },
      *wait);
  if (!done) return tl::make_unexpected(done.error());
  if (ended()) return why();
  return channel;
}

Result<void> Engine::send(const Remote& to, Bytes payload, const Wait* wait, bool rendezvous) {
  if (payload.size() > kMaxMessage) {
    return fail(Errc::too_large, "a message is limited to 16 MiB: use a grant");
  }
  Channel* channel = with_room(to);
  if (channel == nullptr) [[unlikely]] {
    auto waited = wait_for_room(to, wait);
    if (!waited) return tl::make_unexpected(waited.error());
    channel = *waited;
  }
  fabric::FramePtr frame = small_frame(payload);
  if (frame == nullptr) [[unlikely]] {
    auto made = make_frame(payload);
    if (!made) return tl::make_unexpected(made.error());
    frame = std::move(*made);
  }
  counters_->sends.add();
  const Number number = enqueue(*channel, Stream::messages, std::move(frame), wire::Type::message,
                                rendezvous ? wire::kAckNow : 0, 0, 0);
  if (!rendezvous) return {};
  // Watched, the channel stays even if the peer dies: it may have received the message before.
  watch(to, +1);
  bool received = false;
  auto done = run_until(
      [&] {
        const Channel* now = find(to);
        received = channel::distance(number, now->core.out(Stream::messages).acknowledged()) > 0;
        return received || now->dead;
      },
      *wait);
  Error error = done ? Error{Errc::endpoint_died, {}, to.id().to_string()} : done.error();
  error.outcome = Outcome::unknown;
  watch(to, -1);
  if (received) return {};
  return tl::make_unexpected(std::move(error));
}

Result<void> Engine::send(const Remote& to, fabric::Buffer payload, const Wait& wait) {
  auto channel = wait_for_room(to, &wait);
  if (!channel) return tl::make_unexpected(channel.error());
  auto frame = make_frame(std::move(payload));
  if (!frame) return tl::make_unexpected(frame.error());
  counters_->sends.add();
  enqueue(**channel, Stream::messages, std::move(*frame), wire::Type::message, 0, 0, 0);
  return {};
}

Result<void> Engine::wait_received(const Remote& to, const Wait& wait) {
  const auto died = [&] {
    Error error{Errc::endpoint_died, {}, to.id().to_string()};
    error.outcome = Outcome::unknown;
    return tl::make_unexpected(std::move(error));
  };
  const Channel* channel = find(to);
  if (channel == nullptr) {
    // It ended in an earlier call, maybe because of what it had received.
    const bool last = to.channel_ < uses_.size() && uses_[to.channel_].serial == to.serial_ + 1;
    if (last && uses_[to.channel_].received) return {};
    return died();
  }
  const Number next = channel->core.out(Stream::messages).next();
  watch(to, +1);  // stays even if the peer dies
  bool received = false;
  auto done = run_until(
      [&] {
        channel = find(to);
        const Number acknowledged = channel->core.out(Stream::messages).acknowledged();
        received = channel::distance(next, acknowledged) >= 0 && channel->notify_flying == 0 &&
                   channel->notify_waiting == 0;
        return received || channel->dead;
      },
      wait);
  watch(to, -1);
  if (received) return {};
  if (done) return died();
  done.error().outcome = Outcome::unknown;
  return done;
}

// --- acknowledgements --------------------------------------------------------------------------

void Engine::on_acks(Channel& channel, const wire::Header& header) {
  on_ack(channel, Stream::messages, header.ack_messages);
  on_ack(channel, Stream::replies, header.ack_replies);
}

void Engine::on_ack(Channel& channel, Stream stream, Number ack) {
  const channel::SendWindow::Ack effect = channel.core.out(stream).on_ack(ack);
  if (!effect.valid) [[unlikely]] {
    channel.connection->close(
        Error{Errc::protocol_error, "an acknowledgement of what was not sent", {}});
    return;
  }
  if (effect.freed == 0) return;
  Channel::Outgoing& out = channel.out[static_cast<std::size_t>(stream)];
  // After a rewind the acknowledgement may overtake the cursor.
  for (std::uint32_t i = 0; i < effect.freed; ++i) {
    if (out.unsent == out.retained.front()) out.unsent = out.unsent->next;
    out.retained.pop();
  }
  if (!channel.replies_waiting.empty() && stream == Stream::replies && !channel.parked)
    send_waiting_replies(channel);
}

/// The application has taken a message: its slot is free, which the peer learns in time.
void Engine::taken(Channel& channel, Stream stream, Number number, bool now) {
  channel::ReceiveWindow& window = channel.core.in(stream);
  window.on_taken(number);
  const auto owed = window.received() - channel.told[static_cast<std::size_t>(stream)];
  if (now || owed >= channel::kWindow / 4) {
    send_ack(channel);
  } else {
    owe_ack(channel);
  }
}

void Engine::owe_ack(Channel& channel) {
  if (std::exchange(channel.ack_due, true)) return;
  ack_due_.push_back(&channel);
}

void Engine::send_ack(Channel& channel) {
  if (!channel.core.attached() || channel.connection == nullptr) return;  // the next attach tells
  wire::Header header;
  header.type = wire::Type::ack;
  header.channel = channel.core.peer_index();
  header.ack_messages = channel.core.in(Stream::messages).received();
  header.ack_replies = channel.core.in(Stream::replies).received();
  if (post_control(*channel.connection, header, {})) {
    channel.told[0] = header.ack_messages;
    channel.told[1] = header.ack_replies;
  } else {
    owe_ack(channel);
  }
}

void Engine::flush_acks() {
  if (ack_due_.empty()) return;
  // Swapped with a list that keeps its memory: nothing is allocated.
  ack_flushing_.swap(ack_due_);
  for (Channel* channel : ack_flushing_) {
    channel->ack_due = false;
    if (channel->owes_ack()) send_ack(*channel);
  }
  ack_flushing_.clear();
}

// --- receiving ---------------------------------------------------------------------------------

void Engine::on_sequenced(Channel& channel, const fabric::FrameHeader& frame,
                          const wire::Header& header, std::span<const std::byte> payload,
                          fabric::Buffer large) {
  const Stream stream = header.type == wire::Type::reply ? Stream::replies : Stream::messages;
  // A reply is taken as it arrives, so the peer must keep it for the place that is granted.
  if (channel.parked && stream == Stream::replies) [[unlikely]]
    return;
  channel::ReceiveWindow& window = channel.core.in(stream);
  // Room first: a frame that cannot be kept must not count as arrived.
  fabric::FramePtr kept = fabric_->frames().allocate(large.empty() ? frame.length : 0);
  if (kept == nullptr || (large.empty() && payload.size() != frame.length)) [[unlikely]] {
    channel.connection->close(Error{Errc::no_memory, "no memory for an arriving message", {}});
    return;
  }
  switch (window.on_frame(header.number)) {
    case channel::ReceiveWindow::Verdict::deliver:
      break;
    case channel::ReceiveWindow::Verdict::duplicate:
      counters_->duplicates.add();
      return;
    case channel::ReceiveWindow::Verdict::gap:
      // A frame was lost on a living connection: tell at once what is missing, once for each hole.
      if (std::exchange(channel.gap_told[static_cast<int>(stream)], window.arrived()) !=
          window.arrived()) {
        const auto seen = [&](Stream which) {
          return which == stream ? header.number : channel.core.in(which).arrived();
        };
        send_report(channel, seen(Stream::messages), seen(Stream::replies));
      }
      return;
    case channel::ReceiveWindow::Verdict::overrun:
      channel.connection->close(Error{Errc::protocol_error, "the peer ignores the window", {}});
      return;
  }
  fabric::copy_header(kept->header, frame);
  if (large.empty()) {
    std::ranges::copy(payload, kept->small());
  } else {
    kept->large = std::move(large);
  }
  if (stream == Stream::replies) {
    on_reply(channel, header, std::move(kept));
    return;
  }
  (header.type == wire::Type::request ? channel.requests : channel.messages).push(std::move(kept));
  make_ready(channel);
}

void Engine::make_ready(Channel& channel) {
  if (std::exchange(channel.in_ready, true)) return;
  LocalEndpoint& local = *channel.local;
  channel.next_ready = nullptr;
  if (local.ready_tail == nullptr) {
    local.ready_head = &channel;
  } else {
    local.ready_tail->next_ready = &channel;
  }
  local.ready_tail = &channel;
}

/// Takes the next channel with input off the list; the caller puts it back behind the others.
Channel* Engine::next_ready(LocalEndpoint& local, bool requests_only) {
  Channel* previous = nullptr;
  Channel* channel = local.ready_head;
  while (channel != nullptr) {
    Channel* next = channel->next_ready;
    const bool suits = requests_only ? !channel->requests.empty() : channel->has_input();
    if (suits || !channel->has_input()) {
      (previous == nullptr ? local.ready_head : previous->next_ready) = next;
      if (local.ready_tail == channel) local.ready_tail = previous;
      channel->in_ready = false;
      if (suits) return channel;
    } else {
      previous = channel;
    }
    channel = next;
  }
  return nullptr;
}

namespace {

/// The older of the two queues' heads: receive() keeps the sender's order across both.
fabric::FrameQueue& older(Channel& channel) {
  if (channel.messages.empty()) return channel.requests;
  if (channel.requests.empty()) return channel.messages;
  const auto message = wire::header_of(channel.messages.front()->header).number;
  const auto request = wire::header_of(channel.requests.front()->header).number;
  return channel::distance(message, request) > 0 ? channel.messages : channel.requests;
}

}  // namespace

Result<Message> Engine::receive(std::uint32_t endpoint, const Remote* from, const Wait& wait) {
  LocalEndpoint& local = *endpoints_[endpoint];
  if (!local.open) return fail(Errc::closed);
  Channel* channel = nullptr;
  const auto look = [&] {
    if (local.attention && !attend(local)) [[unlikely]]
      return local.gate == LocalEndpoint::Gate::left;
    if (from != nullptr) {
      channel = find(*from);
      return channel == nullptr || channel->dead || channel->has_input() ||
             channel->notify_arrived != 0;
    }
    if (!local.notified.empty()) {
      channel = local.notified.front();
      return true;
    }
    channel = next_ready(local, false);
    return channel != nullptr;
  };
  if (!look()) {
    // Whoever waits for one peer wants to be told of its death: the channel is kept up meanwhile.
    if (from != nullptr) watch(*from, +1);
    auto error = progress_until(look, wait);
    if (from != nullptr) {
      watch(*from, -1);
      channel = find(*from);
    }
    if (error) return tl::make_unexpected(std::move(*error));
  }
  if (local.gate == LocalEndpoint::Gate::left) [[unlikely]]
    return tl::make_unexpected(local.farewell());
  if (channel == nullptr) return fail(Errc::endpoint_died, {}, from->id().to_string());
  if (channel->notify_arrived != 0) {
    std::erase(local.notified, channel);
    counters_->receives.add();
    Message message(channel->remote, std::exchange(channel->notify_arrived, 0));
    free_if_done(*channel);
    return message;
  }
  if (!channel->has_input()) return fail(Errc::endpoint_died, {}, from->id().to_string());

  fabric::FramePtr frame = older(*channel).pop();
  const wire::Header header = wire::header_of(frame->header);
  const bool request = header.type == wire::Type::request;
  if (request && local.last_requests != 0) [[unlikely]]
    --local.last_requests;
  Message message(std::move(frame), channel->remote,
                  request ? Message::Kind::request : Message::Kind::message);
  taken(*channel, Stream::messages, header.number, (header.flags & wire::kAckNow) != 0);
  after_take(*channel);
  counters_->receives.add();
  return message;
}

/// Puts a channel back behind the others, or lets go of one that has ended and is empty now.
void Engine::after_take(Channel& channel) {
  if (channel.has_input()) {
    make_ready(channel);
  } else {
    free_if_done(channel);
  }
}

/// A watched channel is kept up, and is not freed, until it is watched no more.
void Engine::watch(const Remote& remote, int change) {
  Channel* channel = find(remote);
  if (channel == nullptr) return;
  channel->watchers += static_cast<std::uint32_t>(change);
  if (change > 0) {
    serve(*channel);
  } else if (channel->watchers == 0 && channel->dead) {
    free_if_done(*channel);
  }
}

/// Lets go of a channel that has ended, once nothing of it is left to take and nobody looks at it.
void Engine::free_if_done(Channel& channel) {
  if (channel.dead && !channel.has_input() && channel.notify_arrived == 0 &&
      channel.executing == 0 && channel.watchers == 0 && channel.local->open &&
      channel.local->gate != LocalEndpoint::Gate::left) {
    free_channel(channel);
  }
}

// --- notifications -----------------------------------------------------------------------------

Result<void> Engine::notify(const Remote& to, std::uint64_t bits) {
  Channel* channel = find(to);
  if (channel == nullptr || channel->dead)
    return fail(Errc::endpoint_died, {}, to.id().to_string());
  if (bits == 0) return fail(Errc::invalid_argument, "a notification carries at least one bit");
  if (channel->parked) return fail(Errc::would_block, "the endpoint is moving");
  counters_->notifications.add();
  channel->notify_waiting |= bits;
  if (channel->notify_flying != 0) return {};  // merged: leaves when the one in flight has arrived
  if (channel->core.attached()) {
    send_notification(*channel);
  } else {
    serve(*channel);
  }
  return {};
}

/// Sends the bits in flight, or takes those that wait. May send the same ones again: the number
/// tells.
void Engine::send_notification(Channel& channel) {
  if (channel.notify_flying == 0) {
    channel.notify_flying = std::exchange(channel.notify_waiting, 0);
    ++channel.notify_number;
  }
  wire::Header header;
  header.type = wire::Type::notify;
  header.channel = channel.core.peer_index();
  header.number = channel.notify_number;
  // If there is no room now, the timer brings it up again.
  post_control(*channel.connection, header, channel.notify_flying);
  set_timer(channel, Clock::now() + kProbeInterval);
}

void Engine::on_notify(Channel& channel, const wire::Header& header,
                       std::span<const std::byte> payload) {
  std::uint64_t bits;
  if (channel.parked || !wire::decode(payload, bits)) return;
  if (channel::distance(channel.notify_seen, header.number) > 0) {
    channel.notify_seen = header.number;
    if (channel.notify_arrived == 0) channel.local->notified.push_back(&channel);
    channel.notify_arrived |= bits;
  }
  wire::Header answer;
  answer.type = wire::Type::notify_ack;
  answer.channel = channel.core.peer_index();
  answer.number = header.number;
  post_control(*channel.connection, answer, {});
}

}  // namespace godwit
