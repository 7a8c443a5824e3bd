// Random 64-bit numbers from the kernel: nonces, lineages. Any thread.
#pragma once

#include <cstdint>

namespace godwit::coord {

// Never 0.
std::uint64_t random_u64();

}  // namespace godwit::coord
