#include "allocations.h"

#include <malloc.h>

#include <cstddef>

namespace scale {

namespace {

// Not constructed at first use: the hooks below run before anything else does.
constinit thread_local std::uint64_t t_allocations = 0;

}  // namespace

std::uint64_t allocations_of_this_thread() noexcept {
  return t_allocations;
}

std::uint64_t bytes_in_use() noexcept {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

void count_allocation() noexcept {
  ++t_allocations;
}

}  // namespace scale

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern "C" {

// glibc's own names for what stands behind the replaced ones.
void* __libc_malloc(std::size_t size);                           // NOLINT
void* __libc_calloc(std::size_t count, std::size_t size);        // NOLINT
void* __libc_realloc(void* memory, std::size_t size);            // NOLINT
void* __libc_memalign(std::size_t alignment, std::size_t size);  // NOLINT

void* malloc(std::size_t size) {
  scale::count_allocation();
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  scale::count_allocation();
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  scale::count_allocation();
  return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  scale::count_allocation();
  return __libc_memalign(alignment, size);
}
}
#endif
