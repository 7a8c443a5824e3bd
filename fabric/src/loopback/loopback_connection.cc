#include <algorithm>
#include <cstring>
#include <utility>

#include "loopback/loopback_transport.h"

namespace godwit::fabric {

LoopbackConnection::LoopbackConnection(LoopbackTransport& transport, Handshake handshake,
                                       Time deadline)
    : Connection(TransportKind::loopback),
      transport_(transport),
      handshake_(std::move(handshake)),
      deadline_(deadline) {}

LoopbackConnection::~LoopbackConnection() {
  // An engine that goes without closing is, to its peers, one that died.
  if (other_ != nullptr) other_->other_side_gone({Errc::connection_lost, "the peer is gone", {}});
}

void LoopbackConnection::join(LoopbackConnection& one, LoopbackConnection& other) noexcept {
  one.other_ = &other;
  other.other_ = &one;
}

// --- handshake ----------------------------------------------------------------------------------

void LoopbackConnection::send_handshake() {
  for (std::string& message : handshake_.take_output()) {
    if (other_ == nullptr) return;
    Parcel parcel;
    parcel.bytes = std::move(message);
    other_->inbox_.push_back(std::move(parcel));
    other_->transport_.wake();
  }
}

void LoopbackConnection::advance_handshake() {
  send_handshake();
  if (handshake_.state() == Handshake::State::failed) return close(handshake_.error());
  if (handshake_.state() == Handshake::State::established) {
    established_ = true;
    peer_ = handshake_.peer();
    transport_.context().events.on_established(*this);
  }
}

void LoopbackConnection::expire() {
  close({Errc::unreachable, "the peer did not finish the handshake in time", {}});
}

// --- sending ------------------------------------------------------------------------------------

SendStatus LoopbackConnection::send(Frame& frame) {
  if (!established_) return SendStatus::closed;
  if (!admits()) return SendStatus::would_block;
  put(frame, frame.payload());
  return SendStatus::sent;
}

SendStatus LoopbackConnection::post(FramePtr& frame) {
  const SendStatus status = send(*frame);
  if (status == SendStatus::sent) frame.reset();
  return status;
}

bool LoopbackConnection::admits() {
  LoopbackHub& hub = transport_.hub();
  const bool room = other_ == nullptr || other_->inbox_.size() < LoopbackHub::kQueueLimit;
  if (room && !hub.chance(hub.faults().would_block)) return true;
  refused_ = true;
  return false;
}

void LoopbackConnection::put(const Frame& frame, std::span<const std::byte> payload) {
  ++counters_.frames_sent;
  counters_.bytes_sent += payload.size();
  if (other_ == nullptr) return;  // its end is on the way to us
  LoopbackHub& hub = transport_.hub();
  const LoopbackFaults& faults = hub.faults();

  if (!hub.chance(faults.drop)) {
    Parcel parcel;
    parcel.is_frame = true;
    parcel.header = frame.header;
    parcel.bytes.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
    if (hub.chance(faults.delay)) {
      parcel.due = other_->transport_.round() + 1 + hub.below(std::max(faults.max_delay, 1u));
    }
    auto& inbox = other_->inbox_;
    if (hub.chance(faults.duplicate)) inbox.push_back(parcel);
    inbox.push_back(std::move(parcel));
    if (inbox.size() >= 2 && inbox[inbox.size() - 2].is_frame && hub.chance(faults.reorder)) {
      std::swap(inbox[inbox.size() - 2], inbox.back());
    }
    other_->transport_.wake();
  }
  const std::uint64_t sent = ++(peer_.dialed ? *this : *other_).sent_both_ways_;
  if (faults.cut_after != 0 && sent >= faults.cut_after) cut();
}

// --- receiving ----------------------------------------------------------------------------------

bool LoopbackConnection::has_work() const noexcept {
  const bool may_send =
      refused_ && (other_ == nullptr || other_->inbox_.size() <= LoopbackHub::kQueueLimit / 2);
  return !inbox_.empty() || ends_ || may_send;
}

unsigned LoopbackConnection::deliver() {
  unsigned events = 0;
  // Only what lies there now: what handlers cause belongs to a later round.
  for (std::size_t waiting = inbox_.size(); waiting > 0 && open_ && !inbox_.empty(); --waiting) {
    if (inbox_.front().due > transport_.round()) break;
    Parcel parcel = std::move(inbox_.front());
    inbox_.pop_front();
    ++events;
    if (parcel.is_frame) {
      deliver_frame(parcel);
    } else {
      handshake_.on_message(std::as_bytes(std::span(parcel.bytes)));
      advance_handshake();
    }
  }
  if (open_ && ends_ && inbox_.empty()) close(std::move(reason_));
  if (open_ && refused_ && has_work() &&
      (other_ == nullptr || other_->inbox_.size() <= LoopbackHub::kQueueLimit / 2)) {
    refused_ = false;
    ++events;
    transport_.context().events.on_writable(*this);
  }
  // The sender may be asleep, waiting for room.
  if (events != 0 && open_ && other_ != nullptr && other_->refused_) other_->transport_.wake();
  return events;
}

void LoopbackConnection::deliver_frame(Parcel& parcel) {
  ConnectionEvents& events = transport_.context().events;
  const auto payload = std::as_bytes(std::span(parcel.bytes));
  ++counters_.frames_received;
  counters_.bytes_received += payload.size();
  if (payload.size() <= kSmallPayload) {
    return events.on_frame(*this, parcel.header, payload, Buffer());
  }
  Buffer large = events.place(*this, parcel.header);
  if (!open_) return;
  if (!large.empty()) std::memcpy(large.data(), payload.data(), payload.size());
  const std::span<const std::byte> placed = large.span();
  events.on_frame(*this, parcel.header, placed, std::move(large));
}

// --- the end ------------------------------------------------------------------------------------

void LoopbackConnection::close(Error reason) {
  if (!open_) return;
  open_ = false;
  established_ = false;
  reason_ = std::move(reason);
  inbox_.clear();
  if (other_ != nullptr) {
    std::exchange(other_, nullptr)
        ->other_side_gone({Errc::connection_lost, "the peer closed the connection", {}});
  }
  transport_.wake();
}

void LoopbackConnection::other_side_gone(Error reason) {
  other_ = nullptr;
  if (!open_) return;
  ends_ = true;
  reason_ = std::move(reason);
  transport_.wake();
}

void LoopbackConnection::cut() {
  const Error reason{Errc::connection_lost, "the connection was cut", {}};
  LoopbackConnection* other = std::exchange(other_, nullptr);
  for (LoopbackConnection* side : {this, other}) {
    if (side == nullptr || !side->open_) continue;
    const std::uint64_t lost = transport_.hub().below(side->inbox_.size() + 1);
    side->inbox_.resize(side->inbox_.size() - lost);
    side->other_side_gone(reason);
  }
}

}  // namespace godwit::fabric
