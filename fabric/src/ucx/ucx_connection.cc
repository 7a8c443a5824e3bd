#ifdef GODWIT_HAVE_UCX

#include "ucx/ucx_connection.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ucx/ucx_transport_impl.h"

namespace godwit::fabric::ucx {

namespace {
// How long a refused peer has to read why before its endpoint is closed.
constexpr std::chrono::milliseconds kRejectTime{250};
}  // namespace

UcxConnection::UcxConnection(UcxTransport& transport, ConnectionKey key, Handshake handshake,
                             std::optional<UcxSockaddr> target,
                             std::chrono::steady_clock::time_point deadline)
    : Connection(TransportKind::ucx),
      transport_(transport),
      key_(key),
      handshake_(std::move(handshake)),
      target_(target),
      deadline_(deadline) {}

UcxConnection::~UcxConnection() {
  transport_.sends().for_each_busy([this](SendOp& op) {
    if (op.connection == this) op.connection = nullptr;
  });
  transport_.receives().for_each_busy([this](ReceiveOp& op) {
    if (op.connection == this) op.connection = nullptr;
  });
}

// --- Life ---------------------------------------------------------------------------------------

void UcxConnection::begin(ucp_conn_request_h request) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_ERR_HANDLER | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;  // a forced close needs it as well
  params.err_handler.cb = &UcxTransport::on_endpoint_error;
  params.err_handler.arg = &transport_;
  if (target_) {
    params.field_mask |= UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
    params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    params.sockaddr = target_->view();
  } else {
    params.field_mask |= UCP_EP_PARAM_FIELD_CONN_REQUEST;
    params.conn_request = request;
  }
  const ucs_status_t status = ucp_ep_create(transport_.worker(), &params, &endpoint_);
  if (status != UCS_OK) {
    endpoint_ = nullptr;
    lose(ucx_error(Errc::unreachable, "UCX cannot connect", status));
    return;
  }
  transport_.has_endpoint(*this);
  if (state_ == State::starting) state_ = State::handshaking;
  send_handshake();
}

void UcxConnection::send_handshake() {
  for (std::string& message : handshake_.take_output()) {
    SendOp* op = transport_.sends().peek();
    if (op == nullptr) return lose({Errc::no_memory, "no memory for a handshake", {}});
    transport_.sends().take(*op);
    op->connection = this;
    op->message = std::move(message);
    op->length = static_cast<std::uint32_t>(op->message.size());
    op->rendezvous = false;
    ++in_flight_;
    bytes_in_flight_ += op->length;
    ucp_request_param_t& param = transport_.handshake();
    param.user_data = op;
    const ucs_status_ptr_t result = ucp_am_send_nbx(endpoint_, kHandshakeAm, nullptr, 0,
                                                    op->message.data(), op->length, &param);
    if (UCS_PTR_IS_PTR(result)) continue;
    on_sent(*op, UCS_PTR_STATUS(result));
    transport_.sends().finish(*op);
  }
}

void UcxConnection::on_handshake(std::span<const std::byte> message) {
  if (state_ != State::handshaking) return;
  heard_ = true;
  if (message.size() > Handshake::kMaxMessage)
    return lose({Errc::protocol_error, "a handshake message is too long", {}});
  handshake_.on_message(message);
  send_handshake();
  if (closing()) return;
  if (handshake_.state() == Handshake::State::established) return become_established();
  if (handshake_.state() == Handshake::State::failed) {
    // A forced close would drop the Reject: it gets a little time, or until the peer hangs up.
    state_ = State::rejecting;
    reason_ = handshake_.error();
    deadline_ = std::min(deadline_, std::chrono::steady_clock::now() + kRejectTime);
  }
}

void UcxConnection::become_established() {
  const auto key = decode_key(handshake_.peer_transport_data());
  if (!key) return lose({Errc::protocol_error, "the peer's handshake lacks its key", {}});
  peer_key_ = *key;
  peer_ = handshake_.peer();
  state_ = State::established;
  established_ = true;
  transport_.established(*this);
  transport_.context().events.on_established(*this);
}

void UcxConnection::on_deadline() {
  if (state_ == State::rejecting) return lose(reason_);
  lose({Errc::unreachable, "the peer did not finish the handshake in time", {}});
}

void UcxConnection::on_goodbye() {
  peer_gone_ = true;
  if (state_ == State::rejecting) return lose(reason_);  // it has read why
  lose({Errc::connection_lost, "the peer closed the connection", {}});
}

void UcxConnection::on_endpoint_error(ucs_status_t status) {
  peer_gone_ = true;
  if (state_ == State::rejecting) return lose(reason_);  // the peer knows and has hung up
  lose(ucx_error(heard_ ? Errc::connection_lost : Errc::unreachable, "UCX lost the peer", status));
}

void UcxConnection::close(Error reason) {
  lose(std::move(reason));
}

void UcxConnection::lose(Error reason) {
  if (closing()) return;
  state_ = State::closing;
  established_ = false;
  reason_ = std::move(reason);
  transport_.closing(*this);
}

// --- Sending ------------------------------------------------------------------------------------

bool UcxConnection::has_room() const noexcept {
  if (in_flight_ == 0) [[likely]]
    return true;
  if (in_flight_ >= kMaxInFlight || bytes_in_flight_ >= kMaxBytesInFlight) return false;
  return rendezvous_.empty() || next_sequence_ - rendezvous_.front() < kSendWindow;
}

UcxConnection::Sent UcxConnection::transmit(Frame& frame) {
  if (state_ != State::established) [[unlikely]]
    return {SendStatus::closed, nullptr};
  if (!has_room()) [[unlikely]] {
    blocked_ = true;
    return {SendStatus::would_block, nullptr};
  }
  SendOp* op = transport_.sends().peek();
  if (op == nullptr) [[unlikely]] {
    blocked_ = in_flight_ != 0;
    if (!blocked_) transport_.writable(*this);  // nothing of ours will end and say so
    return {SendStatus::would_block, nullptr};
  }
  const std::uint32_t length = frame.header.length;
  ucp_request_param_t* param = &transport_.eager();
  op->rendezvous = false;
  if (length > kSmallPayload) [[unlikely]] {
    if (length > peer_.max_payload) {
      lose({Errc::too_large, "a frame is larger than the peer takes", {}});
      return {SendStatus::closed, nullptr};
    }
    if (length >= transport_.options().rendezvous_threshold) {
      op->rendezvous = true;
      param = &transport_.rendezvous();
    }
  }
  // The header is written where it may have to stay: UCX mostly sends at once, and then the
  // operation remains a spare one.
  op->header.frame = frame.header;
  op->header.frame.fabric = next_sequence_;
  op->header.key = peer_key_;
  op->length = length;
  op->connection = this;
  param->user_data = op;
  const ucs_status_ptr_t result = ucp_am_send_nbx(
      endpoint_, kFrameAm, &op->header, sizeof op->header, frame.payload().data(), length, param);
  if (UCS_PTR_IS_ERR(result)) [[unlikely]] {
    lose(ucx_error(Errc::connection_lost, "UCX cannot send", UCS_PTR_STATUS(result)));
    return {SendStatus::closed, nullptr};
  }
  ++counters_.frames_sent;
  counters_.bytes_sent += length;
  const std::uint32_t sequence = next_sequence_++;
  if (result == nullptr) [[likely]]
    return {SendStatus::sent, nullptr};
  transport_.sends().take(*op);
  ++in_flight_;
  bytes_in_flight_ += length;
  if (op->rendezvous) rendezvous_.push_back(sequence);
  return {SendStatus::sent, op};
}

SendStatus UcxConnection::send(Frame& frame) {
  const Sent sent = transmit(frame);
  if (sent.op != nullptr) [[unlikely]] {
    FramePool::pin(frame);
    sent.op->pinned = &frame;
  }
  return sent.status;
}

SendStatus UcxConnection::post(FramePtr& frame) {
  const Sent sent = transmit(*frame);
  if (sent.op != nullptr) {
    sent.op->owned = std::move(frame);
  } else if (sent.status == SendStatus::sent) {
    frame.reset();
  }
  return sent.status;
}

void UcxConnection::on_sent(const SendOp& op, ucs_status_t status) {
  --in_flight_;
  bytes_in_flight_ -= op.length;
  if (op.rendezvous) {
    const auto at = std::find(rendezvous_.begin(), rendezvous_.end(), op.header.frame.fabric);
    if (at != rendezvous_.end()) rendezvous_.erase(at);
  }
  if (status != UCS_OK && state_ != State::rejecting)
    return lose(ucx_error(heard_ ? Errc::connection_lost : Errc::unreachable, "UCX could not send",
                          status));
  if (!blocked_ || in_flight_ > kMaxInFlight / 2 || bytes_in_flight_ > kMaxBytesInFlight / 2)
    return;
  if (!has_room()) return;
  blocked_ = false;
  transport_.writable(*this);
}

// --- Receiving ----------------------------------------------------------------------------------

void UcxConnection::on_message(const WireHeader& header, void* data, std::size_t length,
                               std::uint64_t attributes) {
  if (state_ != State::established) [[unlikely]] {
    // A frame before the handshake is over: the key was told to the peer alone.
    return lose({Errc::protocol_error, "a frame came before the handshake was over", {}});
  }
  const bool rendezvous = (attributes & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  if (!fits(header, length, rendezvous, transport_.context().max_payload)) [[unlikely]]
    return lose({Errc::protocol_error, "a frame's length is wrong", {}});
  if (rendezvous) [[unlikely]]
    return receive_rendezvous(header, data);
  if (reorder_.pass(header.frame.fabric)) [[likely]]
    return deliver(header.frame, static_cast<const std::byte*>(data));
  hold(header, static_cast<const std::byte*>(data));
}

void UcxConnection::receive_rendezvous(const WireHeader& header, void* data) {
  const std::uint32_t sequence = header.frame.fabric;
  if (!reorder_.claim(sequence))
    return lose({Errc::protocol_error, "a frame's number is wrong", {}});
  FrameHeader shown = header.frame;
  shown.fabric = 0;
  ReceiveOp* op = transport_.receives().peek();
  Buffer place;
  if (op != nullptr) place = transport_.context().events.place(*this, shown);
  if (closing()) return;
  if (place.size() < header.frame.length) {
    // UCX drops a rendezvous that nobody receives and tells its sender that all is well, which is
    // what a frame without a place asks for.
    reorder_.fill(sequence, {shown, nullptr, Buffer()});
    return deliver_held();
  }
  transport_.receives().take(*op);
  op->connection = this;
  op->sequence = sequence;
  op->header = shown;
  op->place = std::move(place);
  ucp_request_param_t& param = transport_.receive();
  param.user_data = op;
  const ucs_status_ptr_t result = ucp_am_recv_data_nbx(transport_.worker(), data, op->place.data(),
                                                       header.frame.length, &param);
  // With a request the callback ends it, perhaps before the call returned; `result` is then stale.
  if (UCS_PTR_IS_PTR(result)) return;
  on_received(*op, UCS_PTR_STATUS(result));
  transport_.receives().finish(*op);
}

void UcxConnection::on_received(ReceiveOp& op, ucs_status_t status) {
  if (closing()) return;
  if (status != UCS_OK)
    return lose(ucx_error(Errc::connection_lost, "UCX could not receive", status));
  reorder_.fill(op.sequence, {op.header, nullptr, std::move(op.place)});
  deliver_held();
}

void UcxConnection::hold(const WireHeader& header, const std::byte* data) {
  if (!reorder_.claim(header.frame.fabric))
    return lose({Errc::protocol_error, "a frame's number is wrong", {}});
  HeldFrame held;
  held.header = header.frame;
  held.header.fabric = 0;
  const std::uint32_t length = header.frame.length;
  if (length > kSmallPayload) {
    held.large = transport_.context().events.place(*this, held.header);
    if (closing()) return;
    if (held.large.size() >= length) {
      std::memcpy(held.large.data(), data, length);
    } else {
      held.large = Buffer();  // dropped
    }
  } else {
    held.small = transport_.context().frames.allocate(length);
    if (held.small == nullptr) return lose({Errc::no_memory, "no memory for a frame", {}});
    if (length != 0) std::memcpy(held.small->small(), data, length);
  }
  reorder_.fill(header.frame.fabric, std::move(held));
  deliver_held();
}

void UcxConnection::deliver(FrameHeader header, const std::byte* data) {
  header.fabric = 0;
  ++counters_.frames_received;
  counters_.bytes_received += header.length;
  ConnectionEvents& events = transport_.context().events;
  if (header.length <= kSmallPayload) [[likely]]
    return events.on_frame(*this, header, {data, header.length}, Buffer());
  Buffer place = events.place(*this, header);
  if (closing()) return;
  if (place.size() < header.length) return events.on_frame(*this, header, {}, Buffer());
  std::memcpy(place.data(), data, header.length);
  const std::span<const std::byte> payload{place.data(), header.length};
  events.on_frame(*this, header, payload, std::move(place));
}

void UcxConnection::deliver_held() {
  while (!closing()) {
    auto held = reorder_.pop();
    if (!held) return;
    ++counters_.frames_received;
    counters_.bytes_received += held->header.length;
    std::span<const std::byte> payload;
    if (!held->large.empty()) {
      payload = {held->large.data(), held->header.length};
    } else if (held->small != nullptr) {
      payload = {held->small->small(), held->header.length};
    }
    transport_.context().events.on_frame(*this, held->header, payload, std::move(held->large));
  }
}

}  // namespace godwit::fabric::ucx

#endif
