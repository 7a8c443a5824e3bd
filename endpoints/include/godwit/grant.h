// Grants: capabilities to a piece of an endpoint's memory, the target of one-sided copies.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "godwit/endpoint_id.h"
#include "godwit/error.h"

namespace godwit {

enum class Rights : std::uint8_t { read = 1, write = 2, read_write = 3 };

/// Names a grant; plain data that is sent to whoever shall use it. The key is random: it cannot be
/// guessed, and the owner still checks who uses it, the rights and the bounds.
struct GrantRef {
  static constexpr std::size_t kBytes = 40;

  EndpointId owner;
  std::uint64_t key = 0;
  std::uint64_t length = 0;  // bytes
  Rights rights = Rights::read;

  std::array<std::byte, kBytes> to_bytes() const;
  static Result<GrantRef> from_bytes(std::span<const std::byte> bytes);
};

}  // namespace godwit
