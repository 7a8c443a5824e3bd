#include "godwit/grant.h"

#include <cstring>

namespace godwit {

namespace {

struct Wire {
  std::uint32_t dc, slot, generation, rights;
  std::uint64_t key, length, reserved;
};
static_assert(sizeof(Wire) == GrantRef::kBytes);

}  // namespace

std::array<std::byte, GrantRef::kBytes> GrantRef::to_bytes() const {
  const Wire wire{owner.dc, owner.slot, owner.generation, static_cast<std::uint32_t>(rights), key,
                  length,   0};
  std::array<std::byte, kBytes> bytes;
  std::memcpy(bytes.data(), &wire, sizeof wire);
  return bytes;
}

Result<GrantRef> GrantRef::from_bytes(std::span<const std::byte> bytes) {
  Wire wire;
  if (bytes.size() != kBytes) return fail(Errc::invalid_argument, "a grant has 40 bytes");
  std::memcpy(&wire, bytes.data(), sizeof wire);
  if (wire.rights < 1 || wire.rights > 3 || wire.generation == 0 || wire.length == 0) {
    return fail(Errc::invalid_argument, "these bytes are not a grant");
  }
  GrantRef ref;
  ref.owner = EndpointId{wire.dc, wire.slot, wire.generation};
  ref.key = wire.key;
  ref.length = wire.length;
  ref.rights = static_cast<Rights>(wire.rights);
  return ref;
}

}  // namespace godwit
