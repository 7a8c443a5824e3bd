// VerbsConnection: its life, and what it sends. incoming.cc has what it receives.
#ifdef GODWIT_HAVE_VERBS

#include "verbs/verbs_connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "verbs/verbs_transport_impl.h"

namespace godwit::fabric::verbs {

VerbsConnection::VerbsConnection(VerbsTransport& transport, Handshake handshake,
                                 std::unique_ptr<Link> link, Time deadline)
    : Connection(TransportKind::verbs),
      transport_(transport),
      link_(std::move(link)),
      state_(State::dialing),
      credits_(link_->window),
      handshake_(std::move(handshake)),
      deadline_(deadline),
      dialed_(true) {}

VerbsConnection::~VerbsConnection() {
  // The device must be done with the memory of payloads and copies before that is given back.
  link_.reset();
  end_one_sided();
}

// --- life ---------------------------------------------------------------------------------------

void VerbsConnection::on_resolved(int timeout_ms) {
  if (!transport_.is_ours(link_->cm()))
    return lose({Errc::unreachable, "the way to the peer leaves by another RDMA device", {}});
  if (rdma_resolve_route(link_->cm(), timeout_ms) != 0)
    lose(verbs_error(Errc::unreachable, "cannot resolve the route to the peer", errno));
}

void VerbsConnection::on_routed() {
  auto done = link_->make_pair();
  if (done) done = link_->connect(Introduction{link_->id}.encode());
  if (!done) lose(std::move(done.error()));
}

void VerbsConnection::on_connected(std::string_view introduction) {
  const auto peer = Introduction::decode(introduction);
  if (!peer) return fail_protocol("what answers is no engine");
  link_->peer_id = peer->link;
  auto done = link_->activate();
  if (done) done = link_->establish();
  if (!done) return lose(std::move(done.error()));
  state_ = State::handshaking;
  send_handshake();
}

void VerbsConnection::on_requested(std::string_view introduction) {
  dialed_ = false;
  state_ = State::handshaking;
  const auto peer = Introduction::decode(introduction);
  if (!peer) return fail_protocol("what dials is no engine");
  link_->peer_id = peer->link;
  auto done = link_->make_pair();
  if (done) done = link_->activate();
  if (done) done = link_->accept(Introduction{link_->id}.encode());
  if (!done) lose(std::move(done.error()));
}

void VerbsConnection::send_handshake() {
  for (std::string& message : handshake_.take_output()) words_.push_back(std::move(message));
  while (!words_.empty() && !closing()) {
    const std::string& message = words_.front();
    if (!credits_.may_update())
      return lose({Errc::protocol_error, "the peer leaves no room for the handshake", {}});
    if (!link_->room() || transport_.device().free_slots() == 0)
      return transport_.starved(*this);  // pump() goes on
    FrameHeader header;
    header.length = static_cast<std::uint32_t>(message.size());
    if (!put(Kind::handshake, header, std::as_bytes(std::span(message)), true)) return;
    words_.pop_front();
  }
}

void VerbsConnection::on_handshake(std::span<const std::byte> body) {
  if (state_ != State::handshaking) return fail_protocol("a handshake comes twice");
  handshake_.on_message(body);
  send_handshake();
  if (closing()) return;
  if (handshake_.state() == Handshake::State::established) return become_established();
  // What the peer is told of it goes ahead of the goodbye.
  if (handshake_.state() == Handshake::State::failed) lose(handshake_.error());
}

void VerbsConnection::become_established() {
  const auto window = decode_window(handshake_.peer_transport_data());
  if (!window) return fail_protocol("the peer's handshake lacks its window");
  credits_.open(*window);
  peer_ = handshake_.peer();
  state_ = State::established;
  established_ = true;
  transport_.established(*this);
  transport_.context().events.on_established(*this);
}

void VerbsConnection::on_deadline() {
  lose({Errc::unreachable, "the peer did not finish the handshake in time", {}});
}

void VerbsConnection::on_lost(Error reason) {
  peer_gone_ = true;
  if (!heard_) reason.code = Errc::unreachable;
  lose(std::move(reason));
}

void VerbsConnection::close(Error reason) {
  lose(std::move(reason));
}

void VerbsConnection::fail_protocol(const char* what) {
  lose({Errc::protocol_error, what, {}});
}

void VerbsConnection::lose(Error reason) {
  if (closing()) return;
  state_ = State::closing;
  established_ = false;
  reason_ = std::move(reason);
  transport_.closing(*this);
}

std::unique_ptr<Link> VerbsConnection::take_link(bool& parts) {
  queue_.clear();
  for (const Incoming& frame : incoming_) {
    if (frame.kind == Incoming::Kind::small) transport_.device().recycle(frame.buffer);
  }
  // While the device still writes into places, only destroying the link stops it.
  parts = heard_ && !peer_gone_ && reads_.empty() && pieces_.empty() && link_->room();
  if (parts) {
    FrameHeader header;
    header.fabric = pack({Kind::goodbye, 0, 0});
    std::array<ibv_sge, 1> pieces{};
    const bool is_inline = link_->inline_bytes() >= sizeof header;
    std::uint32_t slot = Device::kNone;
    const std::byte* from = reinterpret_cast<const std::byte*>(&header);
    if (!is_inline) {
      slot = transport_.device().take_slot();
      if (slot != Device::kNone) {
        std::memcpy(transport_.device().slot(slot), &header, sizeof header);
        from = transport_.device().slot(slot);
      }
    }
    pieces[0] = {reinterpret_cast<std::uint64_t>(from), sizeof header,
                 transport_.device().slot_key()};
    parts =
        (is_inline || slot != Device::kNone) && link_->send(pieces, is_inline, slot, true, true);
  }
  if (!parts) link_.reset();
  end_one_sided();
  incoming_.clear();
  reads_.clear();
  return std::move(link_);
}

// --- sending ------------------------------------------------------------------------------------

bool VerbsConnection::ready(std::size_t body) {
  if (!credits_.may_send()) return false;
  if (link_->room() && (sizeof(FrameHeader) + body <= link_->inline_bytes() ||
                        transport_.device().free_slots() != 0)) [[likely]]
    return true;
  transport_.starved(*this);
  return false;
}

// A message, which there must be room for.
bool VerbsConnection::put(Kind kind, const FrameHeader& header, std::span<const std::byte> body,
                          bool wake) {
  Control control{kind, credits_.take_owed(Control::kMax), 0};
  if (fetched_owed_ != 0) [[unlikely]] {
    control.fetched = std::min(fetched_owed_, Control::kMax);
    fetched_owed_ -= control.fetched;
  }
  credits_.spend();
  const std::size_t size = sizeof header + body.size();
  std::array<ibv_sge, 2> pieces;
  bool sent = false;
  if (size <= link_->inline_bytes()) {
    FrameHeader copy;
    copy_header(copy, header);
    copy.fabric = pack(control);
    pieces[0] = {reinterpret_cast<std::uint64_t>(&copy), sizeof copy, 0};
    pieces[1] = {reinterpret_cast<std::uint64_t>(body.data()),
                 static_cast<std::uint32_t>(body.size()), 0};
    sent = link_->send(std::span(pieces).first(body.empty() ? 1 : 2), true, 0, wake);
  } else {
    Device& device = transport_.device();
    const std::uint32_t slot = device.take_slot();
    if (slot == Device::kNone) return lose({Errc::no_memory, "no send slot is free", {}}), false;
    std::byte* to = device.slot(slot);
    FrameHeader copy;
    copy_header(copy, header);
    copy.fabric = pack(control);
    std::memcpy(to, &copy, sizeof copy);
    std::memcpy(to + sizeof copy, body.data(), body.size());
    pieces[0] = {reinterpret_cast<std::uint64_t>(to), static_cast<std::uint32_t>(size),
                 device.slot_key()};
    sent = link_->send(std::span(pieces).first(1), false, slot, wake);
  }
  if (!sent) [[unlikely]]
    lose({Errc::connection_lost, "the device refuses to send", {}});
  return sent;
}

template <typename Keep>
SendStatus VerbsConnection::submit(Frame& frame, Keep keep) {
  if (state_ != State::established) [[unlikely]]
    return SendStatus::closed;
  const std::uint32_t length = frame.header.length;
  if (queue_.empty() && length <= kSmallPayload && ready(length)) [[likely]] {
    if (!put(Kind::frame, frame.header, frame.payload(), true)) return SendStatus::closed;
    ++counters_.frames_sent;
    counters_.bytes_sent += length;
    return SendStatus::sent;
  }
  if (length > peer_.max_payload) {
    lose({Errc::too_large, "a frame is larger than the peer takes", {}});
    return SendStatus::closed;
  }
  if (queue_.size() >= kMaxQueued || queued_bytes_ >= kMaxQueuedBytes) {
    blocked_ = true;
    return SendStatus::would_block;
  }
  ++counters_.frames_sent;
  counters_.bytes_sent += length;
  queued_bytes_ += length;
  queue_.push_back({keep(), 0});
  if (queue_.size() == 1) pump();
  return SendStatus::sent;
}

SendStatus VerbsConnection::send(Frame& frame) {
  return submit(frame, [&] { return KeptFrame::retained(frame); });
}

SendStatus VerbsConnection::post(FramePtr& frame) {
  const SendStatus status = submit(*frame, [&] { return KeptFrame::owned(std::move(frame)); });
  if (status == SendStatus::sent) frame.reset();
  return status;
}

void VerbsConnection::pump() {
  if (!words_.empty()) [[unlikely]]
    send_handshake();
  while (!queue_.empty() && !closing()) {
    Queued& head = queue_.front();
    const std::uint32_t length = head.frame->header.length;
    if (!advance(head)) break;
    queued_bytes_ -= length;
    queue_.pop_front();
  }
  if (closing()) return;
  if (!reads_.empty() || !incoming_.empty()) fetch();
  if (!copies_.empty()) advance_copies();
  if (owes()) transport_.due(*this);
  if (!blocked_ || queue_.size() > kMaxQueued / 2 || queued_bytes_ > kMaxQueuedBytes / 2) return;
  blocked_ = false;
  transport_.writable(*this);
}

// True when all of the frame has left, or has been announced.
bool VerbsConnection::advance(Queued& head) {
  Frame& frame = *head.frame;
  const std::uint32_t length = frame.header.length;
  if (length <= kSmallPayload)
    return ready(length) && put(Kind::frame, frame.header, frame.payload(), true);
  if (head.sent == 0 && length >= transport_.options().rendezvous_threshold) {
    if (link_->announced.size() >= kMaxAnnounced || !ready(kSmallPayload)) return false;
    if (announce(head)) return true;
    if (closing()) return false;
  }
  return stream(head);
}

bool VerbsConnection::announce(Queued& head) {
  Registration memory =
      transport_.device().registry().acquire(head.frame->payload(), Registry::Use::peer_reads);
  if (!memory) return false;
  const Announce announce = memory.announce();
  std::array<std::byte, kSmallPayload> body;
  announce.encode(body.data());
  if (!put(Kind::announce, head.frame->header, std::span(body).first(announce.size()), true))
    return false;
  link_->announced.push_back({std::move(head.frame), std::move(memory)});
  return true;
}

bool VerbsConnection::stream(Queued& head) {
  Frame& frame = *head.frame;
  const std::uint32_t length = frame.header.length;
  while (head.sent < length) {
    const std::uint32_t size = std::min(kSmallPayload, length - head.sent);
    if (!ready(size)) return false;
    FrameHeader header = frame.header;
    if (head.sent != 0) header.length = size;
    // The receiver is woken when there is something to deliver, or to give back.
    const bool wake = head.sent + size == length || credits_.available() <= credits_.window() / 2;
    if (!put(head.sent == 0 ? Kind::begin : Kind::more, header,
             frame.payload().subspan(head.sent, size), wake))
      return false;
    head.sent += size;
  }
  return true;
}

void VerbsConnection::acknowledge(const Control& control) {
  if (control.credits != 0 && !credits_.returned(control.credits))
    return fail_protocol("the peer returns credits that it never had");
  if (control.fetched != 0) {
    if (control.fetched > link_->announced.size())
      return fail_protocol("the peer has fetched what was not announced");
    for (std::uint32_t i = 0; i < control.fetched; ++i) link_->announced.pop_front();
  }
  if ((control.credits | control.fetched) != 0 && (!queue_.empty() || blocked_ || owes())) pump();
}

void VerbsConnection::send_update() {
  if (closing() || !owes() || !credits_.may_update() || !link_->room()) return;
  if (link_->inline_bytes() < sizeof(FrameHeader) && transport_.device().free_slots() == 0)
    return transport_.starved(*this);
  // It wakes the peer in any case: what is still in the receive queue may be all that the peer had
  // credits for, and then it sleeps until there is room.
  put(Kind::update, FrameHeader{}, {}, true);
}

}  // namespace godwit::fabric::verbs

#endif
