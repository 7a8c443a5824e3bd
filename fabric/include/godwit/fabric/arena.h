// Arena: the shared-memory pool for payloads above kSmallPayload.
//
// One per engine, backed by a memfd that peers of the same node map read-only, so that a large
// message crosses shared memory by reference. A buddy allocator over blocks of 4 KiB; memory is
// touched only as it is used. allocate() and lend()/give_back() belong to the engine's thread; a
// Buffer may be destroyed on any thread.
//
// A block is free again once its Buffer is gone and every peer it was lent to has given it back.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "godwit/error.h"
#include "godwit/fabric/buffer.h"

namespace godwit::fabric {

class Arena {
 public:
  static constexpr std::size_t kBlock = 4096;

  /// `capacity` bytes of address space (rounded up to a power of two, at least 1 MiB).
  static Result<std::unique_ptr<Arena>> create(std::size_t capacity);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// The calling thread owns the arena from now on.
  void adopt() noexcept { owner_ = std::this_thread::get_id(); }

  /// A buffer of exactly `size` bytes visible, at least page aligned; empty when the arena is full.
  Buffer allocate(std::size_t size) noexcept;

  /// Whether the buffer is a whole block of this arena, which can be lent.
  bool owns(const Buffer& buffer) const noexcept { return buffer.context() == this; }
  /// One more holder of the block at `offset` (a peer that was sent it by reference).
  void lend(std::uint64_t offset) noexcept { ++blocks_[offset / kBlock].holders; }
  /// A peer has given the block back, or died. `offset` must have been lent.
  void give_back(std::uint64_t offset) noexcept { drop(offset); }
  bool is_lent(std::uint64_t offset) const noexcept;

  int fd() const noexcept { return fd_; }
  std::size_t capacity() const noexcept { return capacity_; }
  std::byte* base() const noexcept { return base_; }
  std::size_t in_use() noexcept;

 private:
  struct Block {
    std::uint32_t holders = 0;  // 0: free
    std::uint8_t order = 0;
    bool free = false;                     // the first block of a free run
    std::uint32_t next = 0, previous = 0;  // of the free list of its order
  };

  Arena(int fd, std::byte* base, std::size_t capacity);
  static void release(void* context, std::uint64_t offset) noexcept;
  void drop(std::uint64_t offset) noexcept;
  void push_free(std::uint32_t block, unsigned order) noexcept;
  void unlink_free(std::uint32_t block) noexcept;
  void take_foreign() noexcept;

  int fd_;
  std::byte* base_;
  std::size_t capacity_;
  std::size_t in_use_ = 0;
  unsigned top_order_;
  std::thread::id owner_;
  std::vector<Block> blocks_;
  std::vector<std::uint32_t> free_;  // head per order, kNone if empty
  std::mutex foreign_mutex_;         // taken only when another thread frees, or allocation runs dry
  std::vector<std::uint64_t> foreign_;
  std::atomic<bool> has_foreign_{false};
};

}  // namespace godwit::fabric
