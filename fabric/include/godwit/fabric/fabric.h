// Fabric: all the transports of one engine behind one loop.
//
// Chooses the transport, polls them, and puts the engine to sleep when there is nothing to do.
// Owned by an engine and used on its thread only, except wake().
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "godwit/error.h"
#include "godwit/fabric/address.h"
#include "godwit/fabric/arena.h"
#include "godwit/fabric/frame_pool.h"
#include "godwit/fabric/poller.h"
#include "godwit/fabric/transport.h"
#include "godwit/fabric/ucx_options.h"
#include "godwit/fabric/verbs_options.h"

namespace godwit::fabric {

struct FabricOptions {
  Identity identity;
  std::string runtime_directory;          // for Unix sockets; must exist, mode 0700
  std::string listen_host = "127.0.0.1";  // numeric address that other nodes reach
  /// Transports to offer, best first. Those this build or machine lacks are left out silently
  /// unless named by `force`.
  std::vector<TransportKind> transports = {TransportKind::shm, TransportKind::verbs,
                                           TransportKind::tcp};
  /// Use only this one towards peers.
  std::optional<TransportKind> force;
  std::size_t arena_capacity = std::size_t{256} << 20;  // address space; touched as used
  std::uint32_t ring_capacity = 128 << 10;              // per shm connection and direction
  UcxOptions ucx;
  VerbsOptions verbs;
  /// Longest time an idle engine polls before it sleeps; adapts downwards when polling does not
  /// pay. Zero: sleeps at once. nanoseconds::max(): never sleeps.
  std::chrono::nanoseconds spin = std::chrono::microseconds(50);
};

class Fabric {
 public:
  using Clock = std::chrono::steady_clock;

  static Result<std::unique_ptr<Fabric>> create(FabricOptions options, ConnectionEvents& events);
  ~Fabric();
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  /// The calling thread owns everything from now on (an engine may be made on another thread).
  void adopt() noexcept;

  const EngineAddress& address() const noexcept { return address_; }
  FramePool& frames() noexcept { return frames_; }
  Arena& arena() noexcept { return *arena_; }
  Poller& poller() noexcept { return *poller_; }

  /// The transports that reach this peer, best first; empty: none does.
  std::vector<TransportKind> candidates(const EngineAddress& peer) const;
  /// The transports that this engine and the peer offer both, best first: candidates(), and those
  /// whose device this engine has lost and may have back.
  std::vector<TransportKind> common(const EngineAddress& peer) const;
  void force(std::optional<TransportKind> kind) { options_.force = kind; }

  /// See Transport::connect.
  Result<Connection*> connect(const EngineAddress& peer, std::uint32_t dc, TransportKind kind);

  /// Polls every transport once; the number of events. Never blocks; no system call as long as only
  /// shm has something to do.
  unsigned progress();

  /// Looks at the descriptors without blocking. The engine's loop calls it now and then while
  /// polling.
  unsigned poll_descriptors();

  /// Sleeps until something arrives, wake() is called, or `until`. Returns at once if there is
  /// work.
  void sleep(Clock::time_point until);

  /// Ends the present or the next sleep(). Any thread.
  void wake() noexcept { poller_->wake(); }

  std::chrono::nanoseconds spin() const noexcept { return options_.spin; }
  /// Wake-ups written to sleeping shm peers.
  std::uint64_t wakes() const noexcept;

 private:
  Fabric(FabricOptions options, ConnectionEvents& events, std::unique_ptr<Arena> arena,
         std::unique_ptr<Poller> poller);
  Result<void> open_transports();

  FabricOptions options_;
  FramePool frames_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<Poller> poller_;
  TransportContext context_;
  EngineAddress address_;
  std::vector<std::unique_ptr<Transport>> transports_;  // in the order of preference
};

}  // namespace godwit::fabric
