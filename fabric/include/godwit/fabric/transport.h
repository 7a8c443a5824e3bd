// The transport interface: how bytes get from one engine to another.
//
// A connection joins two engines for one DC. It carries frames in order and without loss until it
// breaks, and then says so once; whatever must outlive it is retained by the layer above.
// Everything here belongs to the engine's thread. No function blocks.
//
// Life of a connection: connect() or an accepted peer -> handshake (version, features, limits,
// proof of DC membership) -> on_established -> frames -> on_closed. The transport owns the object
// and keeps it until on_closed has returned.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "godwit/error.h"
#include "godwit/fabric/arena.h"
#include "godwit/fabric/frame_pool.h"
#include "godwit/fabric/identity.h"
#include "godwit/fabric/one_sided.h"

namespace godwit::fabric {

class EngineAddress;
class Poller;

enum class TransportKind : std::uint8_t { shm = 1, verbs = 2, ucx = 3, tcp = 4, loopback = 5 };
std::string_view to_string(TransportKind kind) noexcept;
Result<TransportKind> parse_transport(std::string_view name);

enum class SendStatus : std::uint8_t {
  sent,         // the connection has it: it leaves in order, unless the connection breaks
  would_block,  // no room; on_writable follows
  closed,       // the connection is broken; on_closed has been or will be called
};

/// What both sides know of each other after the handshake.
struct PeerInfo {
  EngineId engine;
  std::string node;
  std::uint32_t dc = 0;
  std::uint32_t version = 0;
  std::uint64_t features = 0;     // the common ones
  std::uint32_t max_payload = 0;  // the smaller limit
  bool dialed = false;            // this side called connect()
};

struct ConnectionCounters {
  std::uint64_t frames_sent = 0, frames_received = 0;
  std::uint64_t bytes_sent = 0, bytes_received = 0;  // payload
  // One-sided, asked for by this side: what the peer's engine had no part in.
  std::uint64_t bytes_fetched = 0, bytes_written = 0;
};

class Connection {
 public:
  virtual ~Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  TransportKind kind() const noexcept { return kind_; }
  bool established() const noexcept { return established_; }
  /// Valid from on_established on.
  const PeerInfo& peer() const noexcept { return peer_; }
  const ConnectionCounters& counters() const noexcept { return counters_; }

  /// Sends a retained frame. A transport that refers to `frame` (header or payload) after it has
  /// returned pins it until it no longer does (FramePool::pin); the caller may release the frame at
  /// any time, but must not change one that is pinned.
  virtual SendStatus send(Frame& frame) = 0;

  /// Sends a frame that nobody retains. On `sent` the transport has taken it and releases it once
  /// its bytes have left (its `large` Buffer then ends as well); otherwise the caller still has it.
  virtual SendStatus post(FramePtr& frame) = 0;

  /// Pushes out what send() and post() batched. progress() of the transport does it, too.
  virtual void flush() {}

  /// Breaks the connection: frees what it holds and drops what it had not sent. on_closed follows
  /// from the next progress(), with this error.
  virtual void close(Error reason) = 0;

  // One-sided access, for grants (fabric/one_sided.h). Transports without it leave these as they
  // are.

  /// Bytes from which on one-sided access is better than frames over this connection.
  virtual std::uint64_t one_sided_from() const noexcept { return kNever; }
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  /// Opens memory of this process to the peer, for one kind of access: all of it, or the first
  /// bytes of it (Exposure::size). Errors: not_supported, no_memory (frames need none),
  /// connection_lost.
  virtual Result<std::unique_ptr<Exposure>> expose(std::span<std::byte> memory, Access access);

  /// Copies between `copy.local` and memory that the peer has exposed to us. Ends inside the call,
  /// or later: `copy` and its memory must stay until copy.under_way() is false, which the end of
  /// the connection brings about as well.
  virtual void start(OneSidedCopy& copy);

  /// Asks for nothing more on behalf of a copy that is under way. It still has to end.
  virtual void give_up(OneSidedCopy& copy) noexcept;

  /// The layer above's own: what this connection means to it. The fabric never touches it.
  void* user = nullptr;

 protected:
  explicit Connection(TransportKind kind) : kind_(kind) {}

  TransportKind kind_;
  bool established_ = false;
  PeerInfo peer_;
  ConnectionCounters counters_;
};

/// What the layer above is told. Called from Transport::progress() or Poller::dispatch(), never
/// from inside send(), post(), connect() or close(); handlers may call any of those.
class ConnectionEvents {
 public:
  virtual void on_established(Connection& connection) = 0;

  /// A frame arrived. When `large` is not empty it owns the payload (and `payload` refers to it);
  /// otherwise `payload` is valid only during the call.
  virtual void on_frame(Connection& connection, const FrameHeader& header,
                        std::span<const std::byte> payload, Buffer large) = 0;

  /// Where the payload of this frame (above kSmallPayload) shall go: a Buffer of header.length
  /// bytes. Transports that must have memory before they can read call this; an empty Buffer makes
  /// them drop the payload and call on_frame with an empty one, `length` left as sent.
  virtual Buffer place(Connection& connection, const FrameHeader& header) = 0;

  /// There is room again after would_block.
  virtual void on_writable(Connection& connection) = 0;

  /// The connection is gone (also one that never was established). The last event of it.
  virtual void on_closed(Connection& connection, const Error& reason) = 0;

 protected:
  ~ConnectionEvents() = default;
};

/// What every transport of an engine works with; outlives them.
struct TransportContext {
  Identity identity;
  ConnectionEvents& events;
  FramePool& frames;
  Arena& arena;
  Poller& poller;
  std::string runtime_directory;          // for Unix sockets; mode 0700
  std::string listen_host = "127.0.0.1";  // address that other nodes reach
  std::uint32_t max_payload = kMaxPayload;
  std::chrono::nanoseconds handshake_timeout = std::chrono::seconds(2);
};

class Transport {
 public:
  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  virtual TransportKind kind() const noexcept = 0;

  /// Starts to accept peers and adds to `address` how they reach us.
  virtual Result<void> listen(EngineAddress& address) = 0;

  /// Whether this transport can reach that engine, judged without I/O.
  virtual bool can_reach(const EngineAddress& peer) const = 0;

  /// Begins to connect for `dc`. The connection ends up established or closed within
  /// handshake_timeout; it accepts send() only once established.
  virtual Result<Connection*> connect(const EngineAddress& peer, std::uint32_t dc) = 0;

  /// Moves whatever can move; returns the number of events (0: nothing to do now). Called often.
  virtual unsigned progress() = 0;

  /// Before the engine sleeps on the poller: returns false when work is pending (progress again).
  /// After true, anything that arrives makes the poller's descriptor ready.
  virtual bool arm() = 0;
  /// After the engine woke.
  virtual void disarm() = 0;

  /// The latest time the transport wants progress() even if nothing arrives (deadlines of
  /// handshakes); time_point::max() if none.
  virtual std::chrono::steady_clock::time_point next_deadline() const {
    return std::chrono::steady_clock::time_point::max();
  }

 protected:
  Transport() = default;
};

}  // namespace godwit::fabric
