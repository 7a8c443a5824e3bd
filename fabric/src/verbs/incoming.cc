// VerbsConnection: what it receives, and the order in which that is delivered.
#ifdef GODWIT_HAVE_VERBS

#include <algorithm>
#include <cstring>
#include <utility>

#include "verbs/verbs_connection.h"
#include "verbs/verbs_transport_impl.h"

namespace godwit::fabric::verbs {

bool VerbsConnection::on_message(const Message& message, std::uint32_t buffer) {
  if (closing()) [[unlikely]]
    return false;
  heard_ = true;
  const Kind kind = message.control.kind;
  if (kind != Kind::goodbye && !credits_.arrived()) [[unlikely]] {
    fail_protocol("the peer sends more than it has credits for");
    return false;
  }
  acknowledge(message.control);
  if (closing()) [[unlikely]]
    return false;
  if (kind == Kind::frame && state_ == State::established) [[likely]] {
    if (incoming_.empty()) [[likely]] {
      // Freed before it is delivered: an answer then takes the credit along.
      credits_.freed();
      ++counters_.frames_received;
      counters_.bytes_received += message.header.length;
      transport_.context().events.on_frame(*this, message.header, message.body, Buffer());
      if (credits_.update_due() && !closing()) transport_.due(*this);
      return false;
    }
    Incoming& frame = incoming_.emplace_back();
    frame.complete = true;
    frame.header = message.header;
    frame.buffer = buffer;
    return true;
  }
  switch (kind) {
    case Kind::goodbye:
      peer_gone_ = true;
      lose({Errc::connection_lost, "the peer closed the connection", {}});
      return false;
    case Kind::handshake:
      credits_.freed();
      on_handshake(message.body);
      return false;
    case Kind::update:
      credits_.freed();
      break;
    case Kind::frame:
    case Kind::announce:
    case Kind::begin:
    case Kind::more:
      if (state_ != State::established) {
        fail_protocol("a frame came before the handshake was over");
        return false;
      }
      if (message.header.length > peer_.max_payload) {
        fail_protocol("a frame is larger than was agreed");
        return false;
      }
      if (kind == Kind::announce) on_announce(message);
      if (kind == Kind::begin) on_begin(message);
      if (kind == Kind::more) on_more(message);
      break;
  }
  if (!closing() && owes()) transport_.due(*this);
  return false;
}

void VerbsConnection::on_announce(const Message& message) {
  auto announce = Announce::decode(message.body, message.header.length);
  if (!announce) return fail_protocol("an announcement cannot be read");
  Buffer place = transport_.context().events.place(*this, message.header);
  if (closing()) return;
  Incoming& frame = incoming_.emplace_back();
  frame.kind = Incoming::Kind::fetched;
  frame.header = message.header;
  if (place.size() < message.header.length) {
    frame.complete = true;
    return deliver_complete();
  }
  frame.place = std::move(place);
  frame.announce = std::move(*announce);
  frame.memory = transport_.device().registry().acquire({frame.place.data(), message.header.length},
                                                        Registry::Use::device_writes);
  fetch();
}

// Asks for as much as may be under way, oldest first.
void VerbsConnection::fetch() {
  for (Incoming& frame : incoming_) {
    if (frame.kind != Incoming::Kind::fetched || frame.complete) continue;
    while (frame.requested < frame.header.length) {
      if (!fetch_piece(frame)) return;
    }
  }
}

bool VerbsConnection::fetch_piece(Incoming& frame) {
  Device& device = transport_.device();
  if (closing() || reads_out() >= device.max_reads()) return false;
  if (!link_->room()) return transport_.starved(*this), false;
  const std::uint32_t offset = frame.requested;
  const auto remote = frame.announce.piece(offset, frame.header.length);
  std::uint64_t size = std::min<std::uint64_t>(remote.size, kMaxRead);
  std::uint32_t bounce = Device::kNone;
  ibv_sge to{};
  if (frame.memory) {
    const auto local = frame.memory.piece(offset);
    size = std::min(size, local.size);
    to = {reinterpret_cast<std::uint64_t>(frame.place.data() + offset), 0, local.key};
  } else {
    bounce = device.take_bounce();
    if (bounce == Device::kNone) return transport_.starved(*this), false;
    size = std::min<std::uint64_t>(size, kBounceBytes);
    to = {reinterpret_cast<std::uint64_t>(device.bounce(bounce)), 0, device.bounce_key()};
  }
  to.length = static_cast<std::uint32_t>(size);
  if (!link_->access(IBV_WR_RDMA_READ, {remote.address, remote.key}, to,
                     {Posted::Kind::fetch, bounce})) {
    if (bounce != Device::kNone) device.free_bounce(bounce);
    lose({Errc::connection_lost, "the device refuses to fetch", {}});
    return false;
  }
  reads_.push_back({&frame, bounce, offset, to.length});
  frame.requested += to.length;
  return true;
}

// What was asked for ends in that order.
void VerbsConnection::on_access_done(Posted::Kind kind) {
  if (kind == Posted::Kind::copy) return on_piece_done();
  on_fetched();
}

void VerbsConnection::on_fetched() {
  if (reads_.empty()) return;
  const Read read = reads_.front();
  reads_.pop_front();
  Device& device = transport_.device();
  if (read.bounce != Device::kNone) {
    if (!closing())
      std::memcpy(read.frame->place.data() + read.offset, device.bounce(read.bounce), read.size);
    device.free_bounce(read.bounce);
  }
  if (closing()) return;
  read.frame->arrived += read.size;
  fetch();
  if (read.frame->arrived != read.frame->header.length) return;
  read.frame->memory.reset();
  read.frame->complete = true;
  deliver_complete();
  if (!closing() && owes()) transport_.due(*this);
}

void VerbsConnection::on_begin(const Message& message) {
  if (!incoming_.empty() && incoming_.back().kind == Incoming::Kind::pieces &&
      !incoming_.back().complete)
    return fail_protocol("a frame begins within another");
  Buffer place = transport_.context().events.place(*this, message.header);
  if (closing()) return;
  Incoming& frame = incoming_.emplace_back();
  frame.kind = Incoming::Kind::pieces;
  frame.header = message.header;
  if (place.size() >= message.header.length) {
    frame.place = std::move(place);
    std::memcpy(frame.place.data(), message.body.data(), message.body.size());
  }
  frame.arrived = static_cast<std::uint32_t>(message.body.size());
}

void VerbsConnection::on_more(const Message& message) {
  // Pieces of a frame follow each other, so it is the newest one.
  if (incoming_.empty() || incoming_.back().kind != Incoming::Kind::pieces ||
      incoming_.back().complete ||
      message.body.size() > incoming_.back().header.length - incoming_.back().arrived)
    return fail_protocol("a piece belongs to no frame");
  credits_.freed();
  Incoming& frame = incoming_.back();
  if (!frame.place.empty())
    std::memcpy(frame.place.data() + frame.arrived, message.body.data(), message.body.size());
  frame.arrived += static_cast<std::uint32_t>(message.body.size());
  if (frame.arrived != frame.header.length) return;
  frame.complete = true;
  deliver_complete();
}

void VerbsConnection::deliver_complete() {
  while (!incoming_.empty() && incoming_.front().complete && !closing()) {
    Incoming frame = std::move(incoming_.front());
    incoming_.pop_front();
    credits_.freed();
    if (frame.kind == Incoming::Kind::fetched) ++fetched_owed_;
    deliver(frame);
  }
}

void VerbsConnection::deliver(Incoming& frame) {
  ++counters_.frames_received;
  counters_.bytes_received += frame.header.length;
  ConnectionEvents& events = transport_.context().events;
  if (frame.kind != Incoming::Kind::small) {
    const std::span<const std::byte> payload =
        frame.place.empty() ? std::span<const std::byte>{}
                            : std::span<const std::byte>{frame.place.data(), frame.header.length};
    return events.on_frame(*this, frame.header, payload, std::move(frame.place));
  }
  Device& device = transport_.device();
  const std::byte* bytes = device.buffer(frame.buffer) + sizeof(FrameHeader);
  events.on_frame(*this, frame.header, {bytes, frame.header.length}, Buffer());
  device.recycle(frame.buffer);
}

}  // namespace godwit::fabric::verbs

#endif
