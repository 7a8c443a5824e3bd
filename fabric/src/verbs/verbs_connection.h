// VerbsConnection: the frames that cross one link in order, from dialing to the end.
//
// Owned by VerbsTransport; engine's thread only. Small frames are sent as they come, as far as the
// peer's credits and the device's queues allow, and queue up behind that. Large ones are announced
// and fetched by the receiver (RDMA READ), or sent in pieces where their memory cannot be
// registered. The receiver delivers in order: what arrives behind a payload that is still being
// fetched stays in its receive buffer, which its sender has no credit for as long.
//
// One-sided copies (one_sided.cc) are RDMA READs and WRITEs in pieces, between the frames.
//
// Memory: this object, its link, and window() receive buffers of the device; a queue of at most
// kMaxQueued frames or kMaxQueuedBytes bytes, which refers to the frames.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/fabric/handshake.h"
#include "godwit/fabric/transport.h"
#include "verbs/credits.h"
#include "verbs/link.h"
#include "verbs/wire.h"

namespace godwit::fabric::verbs {

class VerbsExposure;
class VerbsTransport;

class VerbsConnection final : public Connection {
 public:
  using Time = std::chrono::steady_clock::time_point;

  VerbsConnection(VerbsTransport& transport, Handshake handshake, std::unique_ptr<Link> link,
                  Time deadline);
  ~VerbsConnection() override;

  SendStatus send(Frame& frame) override;
  SendStatus post(FramePtr& frame) override;
  void close(Error reason) override;
  std::uint64_t one_sided_from() const noexcept override;
  Result<std::unique_ptr<Exposure>> expose(std::span<std::byte> memory, Access access) override;
  void start(OneSidedCopy& copy) override;
  void give_up(OneSidedCopy& copy) noexcept override;

  // For the transport: the life of the connection.
  /// The dialer's steps, as the connection manager goes through them.
  void on_resolved(int timeout_ms);
  void on_routed();
  /// The manager has connected both sides; `introduction`: the peer's private data.
  void on_connected(std::string_view introduction);
  /// The acceptor's only step.
  void on_requested(std::string_view introduction);
  void on_deadline();
  /// The peer is gone, or the way to it.
  void on_lost(Error reason);

  // For the transport: the data.
  /// True: the receive buffer is kept, and recycled later.
  bool on_message(const Message& message, std::uint32_t buffer);
  void on_access_done(Posted::Kind kind);
  /// The device, the link or the peer may have room again.
  void pump();
  /// Sends what is owed to the peer, if that has not gone along with a frame.
  void send_update();
  bool listed_as_due = false;      // in the transport's list
  bool listed_as_starved = false;  // in the transport's other list

  Link& link() noexcept { return *link_; }
  /// Ends the connection's use of its link. When the peer may still be listening, the link has a
  /// goodbye to deliver, and is worth keeping until it did: `parts` is true then.
  std::unique_ptr<Link> take_link(bool& parts);

  bool closing() const noexcept { return state_ == State::closing; }
  bool dialed() const noexcept { return dialed_; }
  const Error& reason() const noexcept { return reason_; }
  Time deadline() const noexcept { return deadline_; }
  const Credits& credits() const noexcept { return credits_; }

 private:
  enum class State : std::uint8_t { dialing, handshaking, established, closing };

  struct Queued {
    KeptFrame frame;
    std::uint32_t sent = 0;  // bytes of a payload that goes in pieces
  };

  /// A frame that cannot be delivered yet.
  struct Incoming {
    enum class Kind : std::uint8_t { small, pieces, fetched } kind = Kind::small;
    bool complete = false;
    FrameHeader header;
    std::uint32_t buffer = 0;  // of small: where it lies
    Buffer place;              // of the others; empty: dropped
    Registration memory;       // of the place
    Announce announce;
    std::uint32_t requested = 0, arrived = 0;  // bytes of the payload
  };
  struct Read {
    Incoming* frame;
    std::uint32_t bounce;  // or Device::kNone
    std::uint32_t offset, size;
  };

  /// A copy by this side that is under way.
  struct Copying {
    OneSidedCopy* copy;
    Registration memory;  // of its local end; empty: it goes through the pool
    std::uint64_t requested = 0;
    bool given_up = false;
  };
  struct Piece {
    Copying* of;
    std::uint32_t bounce;  // or Device::kNone
    std::uint32_t size;
  };

  // Sending.
  template <typename Keep>
  SendStatus submit(Frame& frame, Keep keep);
  bool ready(std::size_t body);
  bool put(Kind kind, const FrameHeader& header, std::span<const std::byte> body, bool wake);
  bool advance(Queued& head);
  bool announce(Queued& head);
  bool stream(Queued& head);
  void acknowledge(const Control& control);
  bool owes() const noexcept { return fetched_owed_ != 0 || credits_.update_due(); }
  void send_handshake();

  // Receiving (incoming.cc).
  void on_handshake(std::span<const std::byte> body);
  void on_announce(const Message& message);
  void on_begin(const Message& message);
  void on_more(const Message& message);
  void fetch();
  bool fetch_piece(Incoming& frame);
  void deliver_complete();
  void deliver(Incoming& frame);
  void on_fetched();

  // One-sided (one_sided.cc).
  friend class VerbsExposure;
  void advance_copies();
  bool copy_piece(Copying& copying);
  void on_piece_done();
  bool end_if_over(Copying& copying);
  void end_one_sided();
  /// RDMA READs of this side, which the device allows so many of at once.
  std::size_t reads_out() const noexcept { return reads_.size() + copy_reads_; }

  void become_established();
  void lose(Error reason);
  void fail_protocol(const char* what);

  static constexpr std::size_t kMaxQueued = 256;
  static constexpr std::uint64_t kMaxQueuedBytes = 4u << 20;
  static constexpr std::size_t kMaxAnnounced = 64;
  static constexpr std::uint32_t kMaxRead = 1u << 20;
  // Of one-sided copies: frames wait behind what is out.
  static constexpr std::uint64_t kMaxPiece = 256u << 10;
  static constexpr std::size_t kMaxPieces = 4;

  // What send() touches.
  VerbsTransport& transport_;
  std::unique_ptr<Link> link_;
  State state_;
  bool blocked_ = false;  // would_block was answered and on_writable is due
  Credits credits_;
  std::uint32_t fetched_owed_ = 0;  // payloads that were fetched; the peer is not told yet
  std::deque<Queued> queue_;
  std::uint64_t queued_bytes_ = 0;

  std::deque<Incoming> incoming_;
  std::deque<Read> reads_;  // in flight, oldest first

  std::list<Copying> copies_;   // oldest first
  std::deque<Piece> pieces_;    // in flight, oldest first
  std::size_t copy_reads_ = 0;  // of them, reads
  std::vector<VerbsExposure*> exposures_;

  Handshake handshake_;
  std::deque<std::string> words_;  // of the handshake, not sent yet
  Time deadline_;
  bool dialed_;
  bool heard_ = false;      // the peer has said anything
  bool peer_gone_ = false;  // it died, said goodbye or cannot be reached
  Error reason_{};
};

}  // namespace godwit::fabric::verbs
