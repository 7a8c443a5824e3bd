// SendQueue: the frames of one tcp connection that have not left yet, in order.
//
// Pins retained frames and owns posted ones until their last byte has left. gather() lays the
// next bytes out for one system call: headers and small payloads are copied side by side into a
// staging buffer (a copy of up to 512 bytes is cheaper than two more vectors for the kernel to
// walk), larger payloads are referred to where they lie. The queue keeps the frames, so staging is
// only needed during the call and one buffer serves all connections of an engine.
//
// Memory: 16 bytes for each frame it has room for; the room doubles from 16 frames to kMaxFrames as
// it is needed, and is kept. The engine's thread only.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "godwit/fabric/frame_pool.h"

namespace godwit::fabric::tcp {

class SendQueue {
 public:
  static constexpr std::size_t kMaxFrames = 1024;
  static constexpr std::size_t kMaxBytes = 4u << 20;
  static constexpr std::size_t kCopiedPayload = 512;

  SendQueue() = default;
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;
  ~SendQueue() { clear(); }

  bool empty() const noexcept { return count_ == 0; }
  std::size_t frames() const noexcept { return count_; }
  /// Bytes still to leave, headers included.
  std::size_t bytes() const noexcept { return bytes_; }

  /// No further frame is taken. A frame is taken whole when it is not full, so bytes() may exceed
  /// kMaxBytes by one frame.
  bool full() const noexcept { return count_ >= kMaxFrames || bytes_ >= kMaxBytes; }
  /// Drained far enough that a sender who was refused is worth waking.
  bool roomy() const noexcept { return count_ <= kMaxFrames / 2 && bytes_ <= kMaxBytes / 2; }

  /// Must not be full.
  void push_retained(Frame& frame) {
    FramePool::pin(frame);
    push({&frame, false});
  }
  void push_owned(FramePtr frame) { push({frame.release(), true}); }

  struct Gathered {
    std::size_t vectors = 0;
    std::size_t bytes = 0;
  };
  /// Lays out as many of the next bytes as `staging` and `vectors` have room for. `staging` must
  /// hold at least one header and kCopiedPayload bytes, `vectors` at least two.
  Gathered gather(std::span<std::byte> staging, std::span<iovec> vectors) const noexcept;

  /// The first `bytes` of what is queued have left.
  void consume(std::size_t bytes) noexcept;

  /// Drops everything: owned frames are released, retained ones unpinned.
  void clear() noexcept;

 private:
  struct Entry {
    Frame* frame = nullptr;
    bool owned = false;
  };

  void push(Entry entry);
  void grow();
  Entry& at(std::size_t index) const noexcept { return ring_[(head_ + index) & (capacity_ - 1)]; }
  void pop() noexcept;

  std::unique_ptr<Entry[]> ring_;
  std::size_t capacity_ = 0;  // a power of two
  std::size_t head_ = 0;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
  std::size_t offset_ = 0;  // bytes of the first frame that have left
};

}  // namespace godwit::fabric::tcp
