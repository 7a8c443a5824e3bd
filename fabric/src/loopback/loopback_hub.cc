#include "godwit/fabric/loopback.h"
#include "loopback/loopback_transport.h"

namespace godwit::fabric {

LoopbackHub::LoopbackHub(std::uint64_t seed, LoopbackFaults faults)
    : faults_(faults), random_(seed) {}

LoopbackHub::~LoopbackHub() = default;

std::unique_ptr<Transport> LoopbackHub::make_transport(TransportContext& context,
                                                       Handshake::Offer offer) {
  return std::make_unique<LoopbackTransport>(*this, context, std::move(offer));
}

void LoopbackHub::cut(EngineId one, EngineId other) {
  if (LoopbackTransport* transport = find(one)) transport->cut_all_to(other);
}

bool LoopbackHub::chance(double probability) {
  // Drawn without std::bernoulli_distribution, whose use of the generator is the library's choice:
  // a seed shall give the same run everywhere. No draw for what cannot happen keeps a run with
  // fewer faults comparable.
  if (probability <= 0) return false;
  return static_cast<double>(random_() >> 11) < probability * 0x1p53;
}

std::uint64_t LoopbackHub::below(std::uint64_t bound) {
  return random_() % bound;
}

LoopbackTransport* LoopbackHub::find(EngineId engine) const noexcept {
  const auto found = listening_.find(engine);
  return found == listening_.end() ? nullptr : found->second;
}

}  // namespace godwit::fabric
