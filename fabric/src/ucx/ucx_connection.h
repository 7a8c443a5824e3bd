// UcxConnection: one UCX endpoint, and the frames that cross it in order.
//
// Owned by UcxTransport; engine's thread only. Its methods run inside UCX's callbacks, where UCX
// may be neither progressed nor asked to make or close an endpoint: those steps are left to the
// transport, which takes them between two progresses (settle()).
//
// Memory: kMaxInFlight operations of about 150 bytes while UCX is behind, 100 bytes per frame held
// back behind a rendezvous (and its payload in the FramePool), and what UCX keeps per endpoint.
#pragma once

#include <ucp/api/ucp.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "godwit/fabric/handshake.h"
#include "godwit/fabric/transport.h"
#include "ucx/handles.h"
#include "ucx/ops.h"
#include "ucx/reorder.h"
#include "ucx/wire.h"

namespace godwit::fabric::ucx {

class UcxTransport;

class UcxConnection final : public Connection {
 public:
  /// `target` for the dialer; the acceptor has none.
  UcxConnection(UcxTransport& transport, ConnectionKey key, Handshake handshake,
                std::optional<UcxSockaddr> target, std::chrono::steady_clock::time_point deadline);
  ~UcxConnection() override;

  SendStatus send(Frame& frame) override;
  SendStatus post(FramePtr& frame) override;
  void close(Error reason) override;

  // For the transport, between two progresses.
  /// Makes the endpoint and sends what the handshake has to say. `request` for the acceptor.
  void begin(ucp_conn_request_h request);
  void on_deadline();
  /// Hands over the endpoint, to be closed once; null if there is none. What UCX had not finished
  /// goes on without this connection.
  ucp_ep_h take_endpoint() noexcept { return std::exchange(endpoint_, nullptr); }

  // For the transport, from UCX's callbacks.
  void on_handshake(std::span<const std::byte> message);
  void on_message(const WireHeader& header, void* data, std::size_t length,
                  std::uint64_t attributes);
  void on_sent(const SendOp& op, ucs_status_t status);
  void on_received(ReceiveOp& op, ucs_status_t status);
  void on_endpoint_error(ucs_status_t status);
  void on_goodbye();

  ConnectionKey key() const noexcept { return key_; }
  ucp_ep_h endpoint() const noexcept { return endpoint_; }
  /// Whether the peer is there and has not been told that we leave.
  bool owes_goodbye() const noexcept { return heard_ && !peer_gone_; }
  bool closing() const noexcept { return state_ == State::closing; }
  const Error& reason() const noexcept { return reason_; }
  std::chrono::steady_clock::time_point deadline() const noexcept { return deadline_; }
  std::size_t held_back() const noexcept { return reorder_.held(); }

 private:
  enum class State : std::uint8_t {
    starting,
    handshaking,
    rejecting,  // the handshake failed; our last word is on its way to the peer
    established,
    closing,
  };

  struct Sent {
    SendStatus status;
    SendOp* op;  // what UCX still needs, if it does
  };
  Sent transmit(Frame& frame);
  bool has_room() const noexcept;
  void send_handshake();
  void become_established();
  void lose(Error reason);

  void receive_rendezvous(const WireHeader& header, void* data);
  void hold(const WireHeader& header, const std::byte* data);
  void deliver(FrameHeader header, const std::byte* data);
  void deliver_held();

  static constexpr std::uint32_t kMaxInFlight = 256;
  static constexpr std::uint64_t kMaxBytesInFlight = 2 * std::uint64_t{kMaxPayload};

  // What send() touches.
  UcxTransport& transport_;
  ucp_ep_h endpoint_ = nullptr;
  ConnectionKey peer_key_ = 0;
  std::uint32_t next_sequence_ = 0;
  std::uint32_t in_flight_ = 0;
  std::uint64_t bytes_in_flight_ = 0;
  std::vector<std::uint32_t> rendezvous_;  // numbers of those in flight, oldest first
  State state_ = State::starting;
  bool blocked_ = false;  // would_block was answered and on_writable is due

  Reorder reorder_{kReceiveWindow};

  ConnectionKey key_;
  Handshake handshake_;
  std::optional<UcxSockaddr> target_;
  std::chrono::steady_clock::time_point deadline_;
  bool heard_ = false;      // the peer has said anything
  bool peer_gone_ = false;  // it died or said goodbye
  Error reason_{};
};

}  // namespace godwit::fabric::ucx
