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

struct alignas(8) FrameHeader {
  std::uint32_t length = 0;              // payload bytes
  std::uint32_t fabric = 0;              // the transport's own use; 0 at both ends of it
  std::array<std::uint32_t, 6> upper{};  // the layer above
};

static_assert(sizeof(FrameHeader) == 32 && std::is_trivially_copyable_v<FrameHeader>);

/// A header as four words. On the hot path headers are written and read only so: a load that is
/// wider than the stores before it waits until those have left the store buffer, some 20 cycles.
/// Compilers do not know that and copy structs in the widest pieces, hence `volatile`.
using HeaderWords = std::array<std::uint64_t, 4>;

inline HeaderWords load_words(const void* header) noexcept {
  using Word [[gnu::may_alias]] = std::uint64_t;
  const volatile Word* from = static_cast<const Word*>(header);
  return {from[0], from[1], from[2], from[3]};
}
inline void store_words(void* header, const HeaderWords& words) noexcept {
  using Word [[gnu::may_alias]] = std::uint64_t;
  volatile Word* to = static_cast<Word*>(header);
  to[0] = words[0];
  to[1] = words[1];
  to[2] = words[2];
  to[3] = words[3];
}
inline void copy_header(FrameHeader& to, const FrameHeader& from) noexcept {
  store_words(&to, load_words(&from));
}

}  // namespace godwit::fabric
