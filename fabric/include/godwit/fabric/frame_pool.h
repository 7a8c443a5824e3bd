// FramePool: where frames at rest live: retained by a sender until acknowledged, or queued at a
// receiver until taken.
//
// One per engine. allocate() belongs to the engine's thread; a Frame may be released on any thread
// (a reply's request may be dropped by a worker), in which case it goes home over a lock-free
// stack. The pool outlives its frames: its destructor leaks blocks that are still out rather than
// freeing memory in use, and says so by outstanding().
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "godwit/fabric/buffer.h"
#include "godwit/fabric/frame.h"

namespace godwit::fabric {

class FramePool;

/// A frame at rest. Its payload is `large` when that is not empty, else the bytes after the struct.
struct Frame {
  Frame* next = nullptr;  // the owner's list
  FramePool* pool = nullptr;
  std::uint32_t size_class = 0;
  std::uint16_t pins = 0;  // connections that still refer to it
  bool orphaned = false;   // released while pinned: the last unpin() takes it home
  FrameHeader header;
  Buffer large;

  std::byte* small() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  std::span<std::byte> payload() noexcept {
    return large.empty() ? std::span<std::byte>{small(), header.length}
                         : std::span<std::byte>{large.data(), header.length};
  }
};

struct FrameDeleter {
  void operator()(Frame* frame) const noexcept;
};
using FramePtr = std::unique_ptr<Frame, FrameDeleter>;

class FramePool {
 public:
  FramePool() : owner_(std::this_thread::get_id()) {}
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;
  ~FramePool();

  /// The thread that calls this owns the pool from now on (an engine may be made by another
  /// thread).
  void adopt() noexcept { owner_ = std::this_thread::get_id(); }

  /// A frame whose small payload has room for `payload` bytes (at most kSmallPayload; larger
  /// payloads go into Frame::large). Null only when the machine is out of memory. Owner's thread
  /// only.
  FramePtr allocate(std::uint32_t payload) noexcept {
    const std::uint32_t size_class = class_of(payload);
    Frame* frame = free_[size_class];
    if (frame == nullptr) [[unlikely]] {
      frame = refill(size_class);
      if (frame == nullptr) return nullptr;
    }
    free_[size_class] = frame->next;
    frame->next = nullptr;
    frame->header.length = payload;
    ++outstanding_;
    return FramePtr(frame);
  }

  /// A connection that refers to a retained frame after send() returned pins it, and unpins it when
  /// it no longer does: the frame may be released in between. Owner's thread only.
  static void pin(Frame& frame) noexcept { ++frame.pins; }
  static void unpin(Frame& frame) noexcept {
    if (--frame.pins == 0 && frame.orphaned) frame.pool->release(&frame);
  }

  void release(Frame* frame) noexcept {
    if (frame->pins != 0) [[unlikely]] {
      frame->orphaned = true;
      return;
    }
    frame->orphaned = false;
    if (!frame->large.empty()) frame->large = Buffer();
    if (std::this_thread::get_id() == owner_) [[likely]] {
      frame->next = free_[frame->size_class];
      free_[frame->size_class] = frame;
      --outstanding_;
    } else {
      Frame* head = foreign_.load(std::memory_order_relaxed);
      do {
        frame->next = head;
      } while (!foreign_.compare_exchange_weak(head, frame, std::memory_order_release,
                                               std::memory_order_relaxed));
    }
  }

  /// Frames handed out and not yet home. Owner's thread only.
  std::size_t outstanding() noexcept {
    take_foreign();
    return outstanding_;
  }

  /// Bytes taken from the system so far; never shrinks. Owner's thread only.
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  static constexpr std::array<std::uint32_t, 4> kPayloadOfClass = {96, 416, 928, kSmallPayload};

  static constexpr std::uint32_t class_of(std::uint32_t payload) noexcept {
    return payload <= kPayloadOfClass[0]   ? 0u
           : payload <= kPayloadOfClass[1] ? 1u
           : payload <= kPayloadOfClass[2] ? 2u
                                           : 3u;
  }

  Frame* refill(std::uint32_t size_class) noexcept;
  void take_foreign() noexcept;

  std::array<Frame*, kPayloadOfClass.size()> free_{};
  std::thread::id owner_;
  std::size_t outstanding_ = 0;
  std::size_t bytes_ = 0;
  std::vector<void*> chunks_;
  alignas(64) std::atomic<Frame*> foreign_{nullptr};
};

inline void FrameDeleter::operator()(Frame* frame) const noexcept {
  frame->pool->release(frame);
}

/// First in, first out list of frames; owns them. Used for retention and for receive queues.
class FrameQueue {
 public:
  FrameQueue() = default;
  FrameQueue(FrameQueue&& other) noexcept
      : head_(std::exchange(other.head_, nullptr)), tail_(std::exchange(other.tail_, nullptr)) {}
  FrameQueue& operator=(FrameQueue&& other) noexcept {
    clear();
    head_ = std::exchange(other.head_, nullptr);
    tail_ = std::exchange(other.tail_, nullptr);
    return *this;
  }
  ~FrameQueue() { clear(); }

  bool empty() const noexcept { return head_ == nullptr; }
  Frame* front() const noexcept { return head_; }

  void push(FramePtr frame) noexcept {
    Frame* raw = frame.release();
    raw->next = nullptr;
    if (tail_ == nullptr) {
      head_ = raw;
    } else {
      tail_->next = raw;
    }
    tail_ = raw;
  }
  FramePtr pop() noexcept {
    Frame* raw = head_;
    head_ = raw->next;
    if (head_ == nullptr) tail_ = nullptr;
    raw->next = nullptr;
    return FramePtr(raw);
  }
  void clear() noexcept {
    while (!empty()) pop();
  }

 private:
  Frame* head_ = nullptr;
  Frame* tail_ = nullptr;
};

}  // namespace godwit::fabric
