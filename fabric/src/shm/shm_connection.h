// ShmConnection: two engines of one node joined by two rings, one in each direction.
//
// Set up over a Unix socket: the handshake, then one message with the descriptors of the segment,
// the arena, the sleep page and the wake-up. The socket stays open: its end is how the kernel tells
// us of the peer's death. Owned by ShmTransport; engine's thread only.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "godwit/fabric/handshake.h"
#include "godwit/fabric/poller.h"
#include "godwit/fabric/transport.h"
#include "shm/memory.h"
#include "shm/ring.h"
#include "shm/sleep.h"

namespace godwit::fabric::shm {

class ShmTransport;

/// The two segments of a connection. Exposures outlive it, and tell the peer's with theirs.
struct Segments {
  Mapping own_memory, peer_memory;
  Segment* own() const noexcept { return reinterpret_cast<Segment*>(own_memory.base()); }
  const Segment* peer() const noexcept {
    return reinterpret_cast<const Segment*>(peer_memory.base());
  }
};

class ShmConnection final : public Connection, private PollHandler {
 public:
  ShmConnection(ShmTransport& transport, Descriptor socket, Handshake handshake,
                std::chrono::steady_clock::time_point deadline);
  ~ShmConnection() override;

  Result<void> start();  // watches the socket and sends what the handshake has to say

  SendStatus send(Frame& frame) override;
  SendStatus post(FramePtr& frame) override;
  void close(Error reason) override;
  std::uint64_t one_sided_from() const noexcept override { return 1; }
  Result<std::unique_ptr<Exposure>> expose(std::span<std::byte> memory, Access access) override;
  void start(OneSidedCopy& copy) override;

  /// Delivers up to a batch of frames; returns how many things happened.
  unsigned poll();
  /// Whether poll() would find work; asked between marking the sleep page and sleeping.
  bool pending();

  bool closing() const noexcept { return closing_; }
  const Error& reason() const noexcept { return reason_; }
  std::chrono::steady_clock::time_point deadline() const noexcept { return deadline_; }

  /// Blocks of our arena that the peer may still read, and the socket that will tell when it does
  /// not.
  std::vector<std::uint64_t> take_lent() { return std::move(lent_); }
  const SharedSocket& socket() const noexcept { return socket_; }
  void leave_poller() noexcept;

 private:
  void on_ready(std::uint32_t events) override;
  void on_datagram(std::span<const std::byte> datagram, std::vector<Descriptor> descriptors);
  void advance_handshake();
  Result<void> send_setup();
  Result<void> take_setup(std::span<const std::byte> body, std::vector<Descriptor> descriptors);
  void become_established();

  SendStatus write_frame(const FrameHeader& header, std::span<const std::byte> payload,
                         const Buffer& large);
  SendStatus blocked() noexcept;
  bool deliver(const RingReader::Record& record);
  void take_release(const RingReader::Record& record);
  void give_back();
  void lose(Errc code, std::string why);

  static constexpr unsigned kBatch = 32;

  ShmTransport& transport_;
  SharedSocket socket_;
  Handshake handshake_;
  std::chrono::steady_clock::time_point deadline_;
  pid_t peer_pid_ = 0;

  Descriptor segment_fd_;
  std::shared_ptr<Segments> segments_ = std::make_shared<Segments>();
  std::uint32_t exposed_ = 0;  // key of the last exposure
  Mapping peer_page_;
  PeerArena* peer_arena_ = nullptr;
  RingWriter writer_;
  RingReader reader_;
  Waker waker_;
  std::vector<std::uint64_t> lent_;       // offsets of our arena, oldest first
  std::vector<std::uint64_t> returning_;  // offsets of the peer's arena to give back

  bool watched_ = false;
  bool setup_sent_ = false;
  bool blocked_ = false;    // would_block was answered and on_writable is due
  bool peer_left_ = false;  // no more will come: close once the ring is drained
  bool closing_ = false;
  Error reason_{};
};

}  // namespace godwit::fabric::shm
