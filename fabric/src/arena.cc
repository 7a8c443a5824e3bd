#include "godwit/fabric/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cassert>

namespace godwit::fabric {

namespace {
constexpr std::uint32_t kNone = ~std::uint32_t{0};
constexpr std::size_t kSmallest = std::size_t{1} << 20;
constexpr std::size_t kLargest = std::size_t{1} << 40;

unsigned order_of(std::size_t size) noexcept {
  const std::size_t blocks = (std::max(size, std::size_t{1}) + Arena::kBlock - 1) / Arena::kBlock;
  return static_cast<unsigned>(std::bit_width(blocks - 1));
}
}  // namespace

Result<std::unique_ptr<Arena>> Arena::create(std::size_t capacity) {
  if (capacity > kLargest) return fail(Errc::too_large, "an arena is limited to 1 TiB");
  capacity = std::bit_ceil(std::max(capacity, kSmallest));
  const int fd = memfd_create("godwit-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return fail_errno("cannot create shared memory for the arena");
  if (ftruncate(fd, static_cast<off_t>(capacity)) != 0) {
    auto error = fail_errno("cannot size the arena");
    ::close(fd);
    return error;
  }
  void* base = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) {
    auto error = fail_errno("cannot map the arena");
    ::close(fd);
    return error;
  }
  // Peers map it after this: they cannot write to it, nor shrink it under our feet.
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) !=
      0) {
    auto error = fail_errno("cannot seal the arena");
    munmap(base, capacity);
    ::close(fd);
    return error;
  }
  return std::unique_ptr<Arena>(new Arena(fd, static_cast<std::byte*>(base), capacity));
}

Arena::Arena(int fd, std::byte* base, std::size_t capacity)
    : fd_(fd),
      base_(base),
      capacity_(capacity),
      top_order_(order_of(capacity)),
      owner_(std::this_thread::get_id()),
      blocks_(capacity / kBlock),
      free_(top_order_ + 1, kNone) {
  push_free(0, top_order_);
}

Arena::~Arena() {
  munmap(base_, capacity_);
  ::close(fd_);
}

Buffer Arena::allocate(std::size_t size) noexcept {
  if (size > capacity_) return {};
  if (has_foreign_.load(std::memory_order_relaxed)) take_foreign();
  const unsigned wanted = order_of(size);
  unsigned order = wanted;
  while (order <= top_order_ && free_[order] == kNone) ++order;
  if (order > top_order_) return {};
  const std::uint32_t block = free_[order];
  unlink_free(block);
  while (order > wanted) {
    --order;
    push_free(block + (1u << order), order);
  }
  blocks_[block].order = static_cast<std::uint8_t>(wanted);
  blocks_[block].holders = 1;
  in_use_ += kBlock << wanted;
  const std::uint64_t offset = std::uint64_t{block} * kBlock;
  return Buffer(base_ + offset, size, &Arena::release, this, offset);
}

void Arena::release(void* context, std::uint64_t offset) noexcept {
  auto* arena = static_cast<Arena*>(context);
  if (std::this_thread::get_id() == arena->owner_) {
    arena->drop(offset);
    return;
  }
  const std::lock_guard lock(arena->foreign_mutex_);
  arena->foreign_.push_back(offset);
  arena->has_foreign_.store(true, std::memory_order_relaxed);
}

void Arena::drop(std::uint64_t offset) noexcept {
  auto block = static_cast<std::uint32_t>(offset / kBlock);
  assert(blocks_[block].holders > 0);
  if (--blocks_[block].holders != 0) return;
  unsigned order = blocks_[block].order;
  in_use_ -= kBlock << order;
  while (order < top_order_) {
    const std::uint32_t buddy = block ^ (1u << order);
    if (!blocks_[buddy].free || blocks_[buddy].order != order) break;
    unlink_free(buddy);
    block = std::min(block, buddy);
    ++order;
  }
  push_free(block, order);
}

bool Arena::is_lent(std::uint64_t offset) const noexcept {
  return offset < capacity_ && offset % kBlock == 0 && blocks_[offset / kBlock].holders > 0;
}

std::size_t Arena::in_use() noexcept {
  take_foreign();
  return in_use_;
}

void Arena::push_free(std::uint32_t block, unsigned order) noexcept {
  Block& entry = blocks_[block];
  entry.free = true;
  entry.order = static_cast<std::uint8_t>(order);
  entry.previous = kNone;
  entry.next = free_[order];
  if (entry.next != kNone) blocks_[entry.next].previous = block;
  free_[order] = block;
}

void Arena::unlink_free(std::uint32_t block) noexcept {
  Block& entry = blocks_[block];
  entry.free = false;
  if (entry.previous != kNone) {
    blocks_[entry.previous].next = entry.next;
  } else {
    free_[entry.order] = entry.next;
  }
  if (entry.next != kNone) blocks_[entry.next].previous = entry.previous;
}

void Arena::take_foreign() noexcept {
  std::vector<std::uint64_t> freed;
  {
    const std::lock_guard lock(foreign_mutex_);
    freed.swap(foreign_);
    has_foreign_.store(false, std::memory_order_relaxed);
  }
  for (const std::uint64_t offset : freed) drop(offset);
}

}  // namespace godwit::fabric
