// Counts every allocation of this program, by thread: the C library's malloc family is replaced by
// one that counts and passes on. Not in sanitized builds, whose runtimes replace it themselves.
#pragma once

#include <cstdint>

namespace scale {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

/// Allocations of the calling thread since its start.
std::uint64_t allocations_of_this_thread() noexcept;
/// Bytes that the whole program has allocated and not freed.
std::uint64_t bytes_in_use() noexcept;
/// For the replaced functions alone.
void count_allocation() noexcept;

}  // namespace scale
