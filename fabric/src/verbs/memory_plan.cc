#include "verbs/memory_plan.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace godwit::fabric::verbs {

namespace {

constexpr std::uint64_t kUnlimited = std::uint64_t{256} << 20;
constexpr std::uint64_t kPlenty = std::uint64_t{64} << 20;
constexpr unsigned kIpcLock = 14;  // CAP_IPC_LOCK: the limit does not bind who has it

bool may_lock_without_limit() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word != "CapEff:") continue;
    std::uint64_t capabilities = 0;
    status >> std::hex >> capabilities;
    return (capabilities >> kIpcLock & 1) != 0;
  }
  return false;
}

}  // namespace

std::uint64_t lockable_bytes() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  if (may_lock_without_limit()) return kUnlimited;
  return std::min<std::uint64_t>(limit.rlim_cur / 4 * 3, kUnlimited);
}

Result<MemoryPlan> plan_memory(std::uint64_t locked, const DeviceLimits& device,
                               const VerbsOptions& options) {
  if (locked < kLeastLocked) {
    return fail(Errc::no_memory,
                "RDMA needs at least " + std::to_string(kLeastLocked >> 10) +
                    " KiB of locked memory per engine and may have " +
                    std::to_string(locked >> 10) +
                    ": raise the limit (ulimit -l, LimitMEMLOCK=) or use fewer engines");
  }
  MemoryPlan plan;
  const auto share = [locked](std::uint64_t parts, std::uint64_t bytes) {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(locked * parts / 16 / bytes, 1 << 20));
  };
  // Half for what peers send, which is what connections are made of; the rest for what is sent, and
  // for large payloads in place, which is worth a copy but nothing stands still without it.
  const std::uint32_t wanted =
      std::min(options.receive_buffers + kSpareBuffers, device.max_receive);
  plan.receive_buffers = std::max(std::min(wanted, share(7, kSlotBytes + 128)), 2 * kSpareBuffers);
  plan.receive_buffers = std::min(plan.receive_buffers, device.max_completions);
  plan.send_slots = std::clamp(share(2, kSlotBytes), 16u, std::max(options.send_slots, 16u));
  plan.bounce_pieces = std::clamp(share(1, kBounceBytes), 1u, 4u);
  plan.send_completions = std::min(std::clamp(share(1, 64), 256u, 4096u), device.max_completions);
  const std::uint64_t fixed = plan.bytes();
  plan.registered = locked > fixed ? locked - fixed : 0;
  plan.chunk_bits = plan.registered >= kPlenty ? 20 : 18;
  return plan;
}

}  // namespace godwit::fabric::verbs
