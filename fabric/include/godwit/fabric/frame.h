// A frame: the unit that a connection carries, a header of 32 bytes and a payload.
//
// On the wire every field is little endian. The first eight bytes belong to the fabric, the other
// 24 to the layer above (`endpoints/`, see docs/wire-format.md), which the fabric never looks into.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace godwit::fabric {

static_assert(std::endian::native == std::endian::little,
              "the wire format is little endian and headers are sent as they lie in memory");

/// Payloads up to this many bytes are copied inline; larger ones live in an Arena (or in user
/// memory) and are handed over by reference where the transport can.
inline constexpr std::uint32_t kSmallPayload = 2048;

/// The largest payload of one frame. Larger transfers use grants.
inline constexpr std::uint32_t kMaxPayload = 16u << 20;

struct FrameHeader {
  std::uint32_t length = 0;              // payload bytes
  std::uint32_t fabric = 0;              // the transport's own use; 0 at both ends of it
  std::array<std::uint32_t, 6> upper{};  // the layer above
};

static_assert(sizeof(FrameHeader) == 32 && std::is_trivially_copyable_v<FrameHeader>);

}  // namespace godwit::fabric
