// TcpTransport: plain TCP between engines, always available.
//
// Waiting: every socket is in the engine's epoll set, level-triggered, all the time, so a sleeping
// engine misses nothing and arm() only has to push out what is queued. A polling engine does not
// want to pay for epoll: progress() reads the recently active ("hot") sockets directly, and a
// socket that stayed quiet for kQuietPolls looks is left to the poller until it is active again.
//
// A peer's death: its process's end or a reset ends in on_closed at the next look at the socket. A
// vanished host: within one second while bytes are on their way (looked at each kDeliveryCheck
// until all have arrived), after two seconds of silence otherwise (the kernel's keepalive, see
// socket.h). So a layer above that waits for an answer and wants to know within a second sends
// something now and then. A living peer that does not read breaks nothing.
//
// Owned by the engine; its thread only. Memory: 192 KiB for all connections together, and what
// tcp_connection.h says for each.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "godwit/fabric/handshake.h"
#include "godwit/fabric/poller.h"
#include "godwit/fabric/transport.h"
#include "tcp/socket.h"
#include "tcp/tcp_connection.h"

namespace godwit::fabric::tcp {

struct TcpOptions {
  std::uint16_t port = 0;  // to listen on; 0: any
  int send_buffer = 0;     // of the sockets, in bytes; 0: automatic
  int receive_buffer = 0;
  Handshake::Offer offer;  // max_payload is the smaller of this and the context's
};

class TcpTransport final : public Transport, private PollHandler {
 public:
  using Time = std::chrono::steady_clock::time_point;

  static constexpr std::uint32_t kQuietPolls = 512;
  static constexpr std::chrono::milliseconds kDeliveryCheck{100};
  /// Strangers can hold at most this many connections without proving anything.
  static constexpr std::size_t kMaxUnproved = 256;

  explicit TcpTransport(TransportContext& context, TcpOptions options = {});
  ~TcpTransport() override;

  TransportKind kind() const noexcept override { return TransportKind::tcp; }
  Result<void> listen(EngineAddress& address) override;
  bool can_reach(const EngineAddress& peer) const override;
  Result<Connection*> connect(const EngineAddress& peer, std::uint32_t dc) override;
  unsigned progress() override;
  bool arm() override;
  void disarm() override {}
  Time next_deadline() const override;

  // For the connections.
  TransportContext& context() noexcept { return context_; }
  const TcpOptions& options() const noexcept { return options_; }
  std::span<std::byte> scratch() noexcept { return {scratch_.get(), FrameReader::kScratch}; }
  std::span<std::byte> staging() noexcept { return {staging_.get(), kStaging}; }
  /// Inside receive(): what handlers send leaves together at its end.
  bool receiving() const noexcept { return receiving_; }
  unsigned receive_on(TcpConnection& connection);
  void add_dirty(TcpConnection& connection);
  void add_refused(TcpConnection& connection);
  void add_closed() noexcept { ++closed_; }
  void add_undelivered(TcpConnection& connection, Time now);
  void handshake_ended(bool dialed) noexcept {
    --under_handshake_;
    if (!dialed) --unproved_;
  }

 private:
  static constexpr std::size_t kStaging = 64u << 10;

  void on_ready(std::uint32_t events) override;
  TcpConnection& add(std::unique_ptr<TcpConnection> connection);
  unsigned poll_hot();
  void write_dirty(bool all);
  unsigned tell_writable();
  unsigned reap();
  void expire_handshakes(Time now);
  void check_deliveries(Time now);
  void pause_listener();
  void resume_listener();

  TransportContext& context_;
  TcpOptions options_;
  std::unique_ptr<std::byte[]> scratch_;
  std::unique_ptr<std::byte[]> staging_;
  Socket listener_;
  Time listener_resumes_ = Time::max();  // while paused for want of descriptors
  std::vector<std::unique_ptr<TcpConnection>> connections_;
  // A connection stays in these after it closed, until reap() takes it out.
  std::vector<TcpConnection*> hot_;
  std::vector<TcpConnection*> dirty_;        // frames are queued
  std::vector<TcpConnection*> refused_;      // a sender was told would_block
  std::vector<TcpConnection*> undelivered_;  // written bytes may be on their way
  Time next_check_ = Time::max();            // of undelivered_
  Time next_expiry_ = Time::max();           // no handshake's deadline is earlier
  std::size_t under_handshake_ = 0;          // dialing ones included
  std::size_t unproved_ = 0;                 // accepted ones under handshake
  std::size_t closed_ = 0;                   // whose on_closed is due
  bool receiving_ = false;
};

}  // namespace godwit::fabric::tcp
