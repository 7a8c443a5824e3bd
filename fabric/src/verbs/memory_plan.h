// How much locked memory the transport takes for what. Pure arithmetic; docs/verbs.md has the
// formula in words.
#pragma once

#include <cstddef>
#include <cstdint>

#include "godwit/error.h"
#include "godwit/fabric/frame.h"
#include "godwit/fabric/verbs_options.h"

namespace godwit::fabric::verbs {

/// Bytes of a receive buffer and of a send slot: a header and a small payload, in whole lines.
inline constexpr std::size_t kSlotBytes = (sizeof(FrameHeader) + kSmallPayload + 63) / 64 * 64;
/// A piece of the pool through which payloads go that cannot be registered.
inline constexpr std::size_t kBounceBytes = 64u << 10;
/// Receive buffers that are posted beyond what peers were promised, so that buffers can be returned
/// to the queue in batches.
inline constexpr std::uint32_t kSpareBuffers = 64;

/// What the device can do, as far as sizes depend on it.
struct DeviceLimits {
  std::uint32_t max_receive = 0;      // work requests of a shared receive queue
  std::uint32_t max_completions = 0;  // entries of a completion queue
};

struct MemoryPlan {
  std::uint32_t receive_buffers = 0;  // at most, kSpareBuffers included
  std::uint32_t send_slots = 0;
  std::uint32_t bounce_pieces = 0;
  std::uint32_t send_completions = 0;  // entries of the send completion queue
  std::uint64_t registered = 0;        // bytes for payloads that are sent and received in place
  std::uint32_t chunk_bits = 0;        // log2 of the unit in which the arena is registered

  /// Locked when everything is in use.
  std::uint64_t bytes() const noexcept {
    return (std::uint64_t{receive_buffers} + send_slots) * kSlotBytes +
           std::uint64_t{bounce_pieces} * kBounceBytes + registered + queue_bytes();
  }
  /// What a device's driver locks for the queues themselves (estimated at 64 bytes an entry).
  std::uint64_t queue_bytes() const noexcept {
    return 64 * (2 * std::uint64_t{receive_buffers} + send_completions);
  }
};

/// The least with which the transport works at all.
inline constexpr std::uint64_t kLeastLocked = 1u << 20;

/// `locked`: bytes that may be locked. no_memory if that is less than kLeastLocked.
Result<MemoryPlan> plan_memory(std::uint64_t locked, const DeviceLimits& device,
                               const VerbsOptions& options);

/// Bytes this process may lock: three quarters of RLIMIT_MEMLOCK (other engines of the process
/// share it), or 256 MiB where no limit binds it.
std::uint64_t lockable_bytes() noexcept;

}  // namespace godwit::fabric::verbs
