// The two sides of the loopback: a transport of one engine, and its connections.
//
// Whatever crosses is copied when it is sent, so that a duplicate or a late frame never refers to
// memory that its sender may reuse. Each connection has an inbox that the other side fills.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "godwit/fabric/loopback.h"
#include "godwit/fabric/transport.h"

namespace godwit::fabric {

class LoopbackTransport;

class LoopbackConnection final : public Connection {
 public:
  using Time = std::chrono::steady_clock::time_point;

  LoopbackConnection(LoopbackTransport& transport, Handshake handshake, Time deadline);
  ~LoopbackConnection() override;

  SendStatus send(Frame& frame) override;
  SendStatus post(FramePtr& frame) override;
  void close(Error reason) override;

  // For the hub and the transport.
  static void join(LoopbackConnection& one, LoopbackConnection& other) noexcept;
  void send_handshake();
  /// Delivers what is due; the number of events.
  unsigned deliver();
  /// Breaks it for both sides; each loses a random number of the last frames on their way.
  void cut();
  void expire();

  bool open() const noexcept { return open_; }
  bool has_work() const noexcept;
  bool under_handshake() const noexcept { return open_ && !established_; }
  Time deadline() const noexcept { return deadline_; }
  const Error& reason() const noexcept { return reason_; }
  EngineId remote() const noexcept { return peer_.engine; }

 private:
  /// A message of the handshake, or a frame.
  struct Parcel {
    bool is_frame = false;
    std::uint64_t due = 0;  // round of the receiving transport
    FrameHeader header;
    std::string bytes;
  };

  bool admits();
  void put(const Frame& frame, std::span<const std::byte> payload);
  void deliver_frame(Parcel& parcel);
  void advance_handshake();
  void other_side_gone(Error reason);

  LoopbackTransport& transport_;
  LoopbackConnection* other_ = nullptr;  // null once it is gone
  Handshake handshake_;
  Time deadline_;
  bool open_ = true;
  bool refused_ = false;  // a send was answered would_block
  bool ends_ = false;     // closes with reason_ after what is in the inbox
  std::deque<Parcel> inbox_;
  std::uint64_t sent_both_ways_ = 0;  // kept by the dialer for both
  Error reason_{};
};

class LoopbackTransport final : public Transport {
 public:
  LoopbackTransport(LoopbackHub& hub, TransportContext& context, Handshake::Offer offer);
  ~LoopbackTransport() override;

  TransportKind kind() const noexcept override { return TransportKind::loopback; }
  Result<void> listen(EngineAddress& address) override;
  bool can_reach(const EngineAddress& peer) const override;
  Result<Connection*> connect(const EngineAddress& peer, std::uint32_t dc) override;
  unsigned progress() override;
  bool arm() override;
  void disarm() override {}
  std::chrono::steady_clock::time_point next_deadline() const override;

  // For the hub and the connections.
  LoopbackHub& hub() noexcept { return hub_; }
  TransportContext& context() noexcept { return context_; }
  std::uint64_t round() const noexcept { return round_; }
  /// Something was put into an inbox of this engine.
  void wake() noexcept;
  void cut_all_to(EngineId engine);

 private:
  LoopbackConnection& add(Handshake handshake);

  LoopbackHub& hub_;
  TransportContext& context_;
  Handshake::Offer offer_;
  std::uint64_t round_ = 0;
  bool armed_ = false;
  std::vector<std::unique_ptr<LoopbackConnection>> connections_;
};

}  // namespace godwit::fabric
