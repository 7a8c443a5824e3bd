// How an engine sleeps without its senders paying for it: one page that all its peers map read-only
// says whether it sleeps, and an eventfd wakes it.
//
// A sender commits a record and then looks at the page; the engine marks the page and then looks at
// the rings. Each must see the other's store, which needs a full fence on both sides. The sleeper
// issues it for everybody (membarrier(2), expedited), so a sender's fast path has none. Where the
// kernel cannot, senders fence.
#pragma once

#include <atomic>
#include <cstdint>

#include "shm/memory.h"

namespace godwit::fabric::shm {

struct EnginePage {
  std::atomic<std::uint32_t> sleep;  // odd while the engine sleeps
};

/// A full fence between an earlier store and a later load of this thread.
void full_fence() noexcept;

/// Registers this process for expedited barriers; false where the kernel has none.
bool register_for_barriers() noexcept;

/// A full fence on every running thread of all registered processes.
void barrier_everywhere() noexcept;

/// A peer's sleep page as a sender sees it.
class Waker {
 public:
  Waker() = default;
  Waker(const EnginePage* page, Descriptor wake_fd, bool fence)
      : page_(page), wake_fd_(std::move(wake_fd)), fence_(fence) {}

  /// Call after each store that the peer must notice. True if it had to be woken.
  bool wake_if_asleep() noexcept {
    if (fence_) full_fence();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const std::uint32_t sleep = page_->sleep.load(std::memory_order_relaxed);
    if ((sleep & 1) == 0 || sleep == woken_) [[likely]]
      return false;
    woken_ = sleep;
    wake();
    return true;
  }

 private:
  void wake() noexcept;

  const EnginePage* page_ = nullptr;
  Descriptor wake_fd_;
  std::uint32_t woken_ = 0;  // the sleep we have already ended
  bool fence_ = true;
};

}  // namespace godwit::fabric::shm
