// TcpConnection: one TCP connection to a peer engine, from connect() or accept() on.
//
// Owned by its TcpTransport; the engine's thread only. Bytes on the wire (docs/wire-format.md): the
// messages of the handshake, each after a prefix of six bytes, then frames, each a FrameHeader and
// its payload. When queued frames leave is told in write_pacer.h; up to SendQueue::kMaxFrames
// frames or kMaxBytes bytes are queued, then sends are refused.
//
// Memory of an idle connection: this object, the queue's room (16 bytes for each frame of its
// longest queue so far) and at most one carry buffer (2 KiB), besides the kernel's socket.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "godwit/fabric/handshake.h"
#include "godwit/fabric/poller.h"
#include "godwit/fabric/transport.h"
#include "tcp/frame_reader.h"
#include "tcp/send_queue.h"
#include "tcp/socket.h"
#include "tcp/write_pacer.h"

namespace godwit::fabric::tcp {

class TcpTransport;

class TcpConnection final : public Connection, private PollHandler {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Dials the first of `candidates` that answers.
  TcpConnection(TcpTransport& transport, Handshake handshake, std::vector<SocketAddress> candidates,
                Time deadline);
  /// An accepted socket.
  TcpConnection(TcpTransport& transport, Handshake handshake, Socket socket, Time deadline);
  ~TcpConnection() override;

  SendStatus send(Frame& frame) override;
  SendStatus post(FramePtr& frame) override;
  void flush() override;
  void close(Error reason) override;

  // For the transport.

  /// Begins to dial, or to listen to the accepted socket. What fails here ends in on_closed.
  void begin();
  /// Reads what has arrived, at most a few reads' worth; the number of events.
  unsigned receive();
  /// Writes what is queued, as far as the socket takes it.
  void write(Time now);
  /// Closes when the peer's host has fallen silent; false when all that was written has arrived.
  bool check_delivery();
  /// Watches for room in a full socket buffer while the engine sleeps.
  void watch_for_room();

  bool open() const noexcept { return state_ != State::closed; }
  bool connected() const noexcept { return open() && state_ != State::dialing; }
  bool under_handshake() const noexcept { return open() && state_ != State::established; }
  bool has_queued() const noexcept { return !queue_.empty(); }
  /// A refused sender may be told that there is room.
  bool writable_again() const noexcept { return refused_ && queue_.roomy(); }
  void clear_refused() noexcept { refused_ = false; }
  const WritePacer& pacer() const noexcept { return pacer_; }
  Time deadline() const noexcept { return deadline_; }
  void expire();
  const Error& reason() const noexcept { return reason_; }

  // Places in the transport's lists, which it alone uses.
  std::uint32_t quiet_polls = 0;
  bool in_hot = false;
  bool in_dirty = false;
  bool in_refused = false;
  bool in_undelivered = false;

 private:
  enum class State : std::uint8_t { dialing, handshaking, established, closed };

  void on_ready(std::uint32_t events) override;
  void dial_next();
  void finish_dialing();
  void begin_handshake();
  void advance_handshake();
  Result<void> take_handshake_bytes(std::span<const std::byte> bytes);
  void refuse() noexcept;
  void queued();
  void write_once(Time now);
  void watch(std::uint32_t events);
  void fail_socket(const char* what, int error);

  TcpTransport& transport_;
  State state_ = State::handshaking;
  std::uint32_t watched_ = 0;
  bool refused_ = false;  // a send was answered would_block
  bool full_ = false;     // the socket's buffer took less than it was given
  Socket socket_;
  SendQueue queue_;
  WritePacer pacer_;
  FrameReader reader_;

  Handshake handshake_;
  std::string handshake_bytes_;  // received, not yet a whole message
  std::vector<SocketAddress> candidates_;
  std::size_t candidate_ = 0;  // the next one
  Time deadline_;              // of the handshake
  Error reason_{};             // when closed
};

}  // namespace godwit::fabric::tcp
