// Device: one RDMA device as an engine uses it: protection domain, completion queues, the shared
// receive queue with its buffers, and the slots from which frames leave.
//
// Owned by the transport; engine's thread only. Its own context of the device: nothing of it is
// shared with other engines of the process. It must outlive its links.
//
// Memory: plan() at most, of which receive buffers are taken as peers come and payloads are
// registered as they are sent.
#pragma once

#include <infiniband/verbs.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "godwit/fabric/arena.h"
#include "godwit/fabric/verbs_options.h"
#include "verbs/credits.h"
#include "verbs/handles.h"
#include "verbs/memory_plan.h"
#include "verbs/registry.h"

namespace godwit::fabric::verbs {

/// Page-aligned memory of our own, registered.
class RegisteredBlock {
 public:
  static Result<RegisteredBlock> create(ibv_pd* domain, std::size_t size);
  RegisteredBlock() = default;
  RegisteredBlock(RegisteredBlock&& other) noexcept { *this = std::move(other); }
  RegisteredBlock& operator=(RegisteredBlock&& other) noexcept;
  ~RegisteredBlock();

  std::byte* data() const noexcept { return data_; }
  std::uint32_t key() const noexcept { return region_->lkey; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  Handle<ibv_mr> region_;
};

class Device {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  /// Opens the device for itself. Errors: no_memory with what to do, system.
  static Result<std::unique_ptr<Device>> open(ibv_device* device, const VerbsOptions& options,
                                              Arena& arena);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  ibv_context* context() const noexcept { return context_.get(); }
  ibv_pd* domain() const noexcept { return domain_.get(); }
  ibv_cq* send_queue() const noexcept { return send_queue_.get(); }
  ibv_cq* receive_queue() const noexcept { return receive_queue_.get(); }
  ibv_srq* shared_queue() const noexcept { return shared_queue_.get(); }
  ibv_comp_channel* channel() const noexcept { return channel_.get(); }
  Registry& registry() noexcept { return *registry_; }
  const MemoryPlan& plan() const noexcept { return plan_; }
  /// Bytes that a queue pair takes inline. Found out with the first one.
  std::uint32_t inline_bytes = kNone;
  /// Reads that a connection may have on their way in one direction.
  std::uint32_t max_reads() const noexcept { return max_reads_; }

  // Receive buffers.
  /// The window of a new connection, its buffers posted. no_memory when there are none left.
  Result<std::uint32_t> take_window();
  void give_back(std::uint32_t window) noexcept { budget_.give_back(window); }
  std::byte* buffer(std::uint32_t index) noexcept {
    return blocks_[index / kBlockBuffers].data() + (index % kBlockBuffers) * kSlotBytes;
  }
  /// The buffer is done with. It is posted again with the next batch.
  void recycle(std::uint32_t index) noexcept {
    recycled_[recycled_count_++] = index;
    if (recycled_count_ == recycled_.size()) [[unlikely]]
      post_recycled();
  }
  void post_recycled() noexcept;
  /// A queue could not take its buffers back: the device is lost.
  bool broken() const noexcept { return broken_; }
  std::uint32_t posted_buffers() const noexcept { return made_buffers_; }

  // Slots, kSlotBytes each.
  std::uint32_t take_slot() noexcept {
    if (free_slots_.empty()) [[unlikely]]
      return kNone;
    const std::uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
  }
  void free_slot(std::uint32_t slot) noexcept { free_slots_.push_back(slot); }
  std::byte* slot(std::uint32_t index) noexcept { return slots_.data() + index * kSlotBytes; }
  std::uint32_t slot_key() const noexcept { return slots_.key(); }
  std::size_t free_slots() const noexcept { return free_slots_.size(); }

  // Pieces for payloads that cannot be registered, kBounceBytes each.
  std::uint32_t take_bounce() noexcept;
  void free_bounce(std::uint32_t piece) noexcept { free_bounces_.push_back(piece); }
  std::byte* bounce(std::uint32_t piece) noexcept { return bounces_.data() + piece * kBounceBytes; }
  std::uint32_t bounce_key() const noexcept { return bounces_.key(); }

  /// Work requests that all links have unfinished: never more than the completion queue holds.
  std::uint32_t unfinished = 0;
  /// Completions of links that are gone may lie in the queue and take its room.
  bool stale_completions = false;
  bool send_room() const noexcept { return unfinished < plan_.send_completions; }
  /// Slots or completions run short: requests are signalled, so that they come back soon.
  bool pressure() const noexcept {
    return unfinished > plan_.send_completions / 2 || free_slots_.size() < plan_.send_slots / 2;
  }

  // Completions.
  int poll_receives(std::span<ibv_wc> into) noexcept;
  int poll_sends(std::span<ibv_wc> into) noexcept;
  /// Takes what has been received out of the device's queue, for the next poll: some drivers drop
  /// completions of a queue pair, and with them its buffers, when that is destroyed.
  void stash_receives();

  // Waiting.
  /// Asks for an event with the next completion: of frames that the sender marked, and of anything
  /// sent. False if the device refuses.
  bool request_events() noexcept;
  /// Takes the events that have come. Acknowledges them in batches, since that takes a lock.
  void take_events() noexcept;

 private:
  static constexpr std::uint32_t kBlockBuffers = 128;
  static constexpr unsigned kAckBatch = 64;

  Device(const VerbsOptions& options, const MemoryPlan& plan)
      : plan_(plan), budget_(plan.receive_buffers - kSpareBuffers, options.window) {}
  Result<void> make(Arena& arena);
  Result<void> add_buffers();
  void acknowledge() noexcept;

  MemoryPlan plan_;
  WindowBudget budget_;
  std::uint32_t max_reads_ = 1;
  bool broken_ = false;

  // In the order in which they are made; they go in the reverse one.
  Handle<ibv_context> context_;
  Handle<ibv_pd> domain_;
  Handle<ibv_comp_channel> channel_;
  Handle<ibv_cq> send_queue_, receive_queue_;
  Handle<ibv_srq> shared_queue_;
  std::unique_ptr<Registry> registry_;
  RegisteredBlock slots_, bounces_;
  std::vector<RegisteredBlock> blocks_;  // of kBlockBuffers receive buffers

  std::vector<std::uint32_t> free_slots_, free_bounces_;
  std::uint32_t made_buffers_ = 0;
  std::array<std::uint32_t, 32> recycled_{};
  std::size_t recycled_count_ = 0;
  static_assert(std::tuple_size_v<decltype(recycled_)> < kSpareBuffers);
  std::vector<ibv_wc> stashed_;

  bool send_armed_ = false, receive_armed_ = false;
  unsigned send_events_ = 0, receive_events_ = 0;  // not acknowledged yet
};

}  // namespace godwit::fabric::verbs
