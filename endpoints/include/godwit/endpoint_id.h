// EndpointId: what messages are addressed to, once a name has been resolved.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "godwit/error.h"

namespace godwit {

/// A slot of a DC and the generation of its owner. The generation rises at each bind of the slot,
/// so an id kept from a former owner never reaches the present one.
struct EndpointId {
  std::uint32_t dc = 0;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;  // 0: no endpoint

  auto operator<=>(const EndpointId&) const = default;
  explicit operator bool() const noexcept { return generation != 0; }
  std::string to_string() const;  // "dc:slot.generation"
};

struct EndpointIdHash {
  std::size_t operator()(const EndpointId& id) const noexcept {
    std::uint64_t mixed =
        (std::uint64_t{id.slot} << 32 | id.generation) ^ (std::uint64_t{id.dc} << 13);
    mixed *= 0x9E3779B97F4A7C15u;
    return mixed ^ mixed >> 29;
  }
};

/// "demo/web/fs" is the endpoint `web/fs` of the DC `demo`. Limits: 1 to 255 bytes each, UTF-8
/// without control characters; the DC has no '/'.
struct EndpointName {
  std::string_view dc;
  std::string_view name;

  static Result<EndpointName> parse(std::string_view full);
};

/// Checks a DC's or an endpoint's name alone against the limits above.
Result<void> check_name(std::string_view what, std::string_view name);

}  // namespace godwit
