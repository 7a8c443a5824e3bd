#include "shm/sleep.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace godwit::fabric::shm {

namespace {
long membarrier(int command) noexcept {
  return syscall(SYS_membarrier, command, 0, 0);
}
}  // namespace

void full_fence() noexcept {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer does not model fences; a sequentially consistent exchange is one on x86.
  static std::atomic<std::uint32_t> fence;
  fence.exchange(0, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

bool register_for_barriers() noexcept {
  const long commands = membarrier(MEMBARRIER_CMD_QUERY);
  if (commands < 0 || (commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0) return false;
  return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
}

void barrier_everywhere() noexcept {
  membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

void Waker::wake() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_.get(), &one, sizeof one);
}

}  // namespace godwit::fabric::shm
