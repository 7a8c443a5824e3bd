// Who an engine is, and how it proves that it may speak for a DC.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace godwit::fabric {

/// Random at each engine's start: two engines never share one, a restarted engine has a new one.
struct EngineId {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const EngineId&) const = default;
  static EngineId random();
  std::string to_string() const;  // 32 hexadecimal digits
};

using DcKey = std::array<std::uint8_t, 32>;

/// The key of a DC that this process may use; nullopt if it is not a member. Called on the engine's
/// thread during a handshake.
using DcKeys = std::function<std::optional<DcKey>(std::uint32_t dc)>;

struct Identity {
  EngineId engine;
  std::string node;  // the node's name; engines of equal node names share memory
  DcKeys keys;
};

}  // namespace godwit::fabric
