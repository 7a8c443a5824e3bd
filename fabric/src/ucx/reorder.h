// Reorder: puts the frames of one connection back into the order in which they were sent.
//
// UCX promises no order between active messages, and a rendezvous ends long after messages that
// were sent behind it. Frames are numbered, the number wraps; a frame that cannot be
// delivered yet is claimed, filled now or later, and popped when all before it were. Without I/O;
// owned by its connection, engine's thread only.
//
// A frame that arrives in order with nothing held costs a comparison and an increment.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "godwit/fabric/buffer.h"
#include "godwit/fabric/frame.h"
#include "godwit/fabric/frame_pool.h"

namespace godwit::fabric::ucx {

/// A frame held back. Its payload is in `large`, or in `small`, or was dropped (both empty).
struct HeldFrame {
  FrameHeader header;
  FramePtr small;
  Buffer large;
};

class Reorder {
 public:
  /// `first`: the number of the first frame.
  explicit Reorder(std::uint32_t window, std::uint32_t first = 0) : window_(window), next_(first) {}

  /// Takes the frame if it is the next one and none is held: it can be delivered at once.
  bool pass(std::uint32_t sequence) noexcept {
    if (sequence != next_ || !slots_.empty()) [[unlikely]]
      return false;
    ++next_;
    return true;
  }

  /// Keeps a place for the frame. False if the number was seen before or lies beyond the window:
  /// the peer breaks the protocol.
  bool claim(std::uint32_t sequence);

  /// Fills a place that was claimed.
  void fill(std::uint32_t sequence, HeldFrame frame) noexcept;

  /// The next frame in order, if it is here.
  std::optional<HeldFrame> pop() noexcept;

  std::size_t held() const noexcept { return slots_.size(); }

 private:
  struct Slot {
    enum class State : std::uint8_t { absent, claimed, filled } state = State::absent;
    HeldFrame frame;
  };

  std::uint32_t window_;
  std::uint32_t next_;  // the number of slots_.front()
  std::deque<Slot> slots_;
};

}  // namespace godwit::fabric::ucx
