#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "peers/child.h"

namespace godwit::bench {

namespace {

// A line each, so that nothing but the hand-over itself moves between the caches.
struct Words {
  alignas(128) std::atomic<std::uint32_t> there{0};
  alignas(128) std::atomic<std::uint32_t> back{0};
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  return syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), operation, value, nullptr,
                 nullptr, 0);
}

void set_and_wake(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  word.store(value, std::memory_order_release);
  futex(word, FUTEX_WAKE, 1);
}

void sleep_until(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  while (word.load(std::memory_order_acquire) != value) {
    if (futex(word, FUTEX_WAIT, value - 1) != 0 && errno != EAGAIN && errno != EINTR)
      fail_errno("futex");
  }
}

}  // namespace

Timing futex_ping_pong(const PeerOptions& options) {
  void* memory =
      mmap(nullptr, sizeof(Words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail_errno("mmap");
  Words& words = *new (memory) Words;  // unmapped by the end of the program
  const std::uint64_t total = options.warmup + options.count;
  Child child(options, [&] {
    for (std::uint64_t i = 1; i <= total; ++i) {
      sleep_until(words.there, static_cast<std::uint32_t>(i));
      think(options.think);
      set_and_wake(words.back, static_cast<std::uint32_t>(i));
    }
  });
  std::uint32_t number = 0;
  const auto round_trips = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      set_and_wake(words.there, ++number);
      sleep_until(words.back, number);
      think(options.think);
    }
  };
  round_trips(options.warmup);
  Timing timing = time_batches(options.count, 100, round_trips);
  timing.without_thinking(2 * options.think);
  return timing;
}

}  // namespace godwit::bench
