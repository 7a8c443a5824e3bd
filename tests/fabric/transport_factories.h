// The transports that the conformance suite runs over.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "godwit/fabric/handshake.h"
#include "godwit/fabric/transport.h"

namespace godwit::fabric::testing {

struct TransportFactory {
  std::string name;
  /// Null where an offer other than the default cannot be made; such tests are skipped.
  std::function<std::unique_ptr<Transport>(TransportContext&,
                                           const std::optional<Handshake::Offer>&)>
      make;
  /// Engines of different processes can meet.
  bool between_processes = true;
};

inline void PrintTo(const TransportFactory& factory, std::ostream* out) {
  *out << factory.name;
}

/// One for each transport that this build and machine have.
std::vector<TransportFactory> transport_factories();

}  // namespace godwit::fabric::testing
