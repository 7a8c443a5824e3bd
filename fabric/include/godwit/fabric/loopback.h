// LoopbackHub: an in-process transport that fails on demand, for tests of what stands above it.
//
// Several engines of one thread are joined through a hub. Connections run the real handshake; then
// each frame meets the hub's faults, drawn from one seeded generator, so the same seed and the same
// calls give the same run. Time is counted in rounds: one progress() of the receiving engine.
//
// Dropping, duplicating and reordering break what a Transport promises on purpose: they are for
// testing that a channel notices. Delays, refusals and cuts are what any transport may do.
//
// The hub outlives its transports. All of it belongs to one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>

#include "godwit/error.h"
#include "godwit/fabric/handshake.h"
#include "godwit/fabric/transport.h"

namespace godwit::fabric {

class LoopbackTransport;

/// Probabilities are 0 to 1, drawn for each frame (or each attempt).
struct LoopbackFaults {
  double drop = 0;
  double duplicate = 0;
  double reorder = 0;  // the frame overtakes the one before it
  double delay = 0;    // by 1 to max_delay rounds; those behind it wait, too
  std::uint32_t max_delay = 8;
  double would_block = 0;     // a send is refused although there is room
  double refuse_connect = 0;  // connect() ends in on_closed(unreachable)
  /// A connection breaks when this many frames were sent on it, both directions together; a random
  /// number of the last ones is lost. 0: never.
  std::uint64_t cut_after = 0;
};

class LoopbackHub {
 public:
  /// Frames on their way in one direction of a connection; then sends are refused.
  static constexpr std::size_t kQueueLimit = 1024;

  explicit LoopbackHub(std::uint64_t seed, LoopbackFaults faults = {});
  ~LoopbackHub();
  LoopbackHub(const LoopbackHub&) = delete;
  LoopbackHub& operator=(const LoopbackHub&) = delete;

  /// A transport of the engine that `context` names. Engines find each other by their ids, so any
  /// EngineAddress that has the id will do.
  std::unique_ptr<Transport> make_transport(TransportContext& context, Handshake::Offer offer = {});

  /// Holds for what is sent from now on.
  void set_faults(const LoopbackFaults& faults) noexcept { faults_ = faults; }
  const LoopbackFaults& faults() const noexcept { return faults_; }

  /// Breaks every established connection between the two, as cut_after does.
  void cut(EngineId one, EngineId other);

  // For the transports.
  bool chance(double probability);
  /// 0 to bound - 1.
  std::uint64_t below(std::uint64_t bound);
  LoopbackTransport* find(EngineId engine) const noexcept;
  void enter(EngineId engine, LoopbackTransport& transport) { listening_[engine] = &transport; }
  void leave(EngineId engine) { listening_.erase(engine); }

 private:
  LoopbackFaults faults_;
  std::mt19937_64 random_;
  std::map<EngineId, LoopbackTransport*> listening_;
};

}  // namespace godwit::fabric
