// SendLedger: which work requests of one link the device still has, and what each holds.
//
// Only some requests are signalled; a completion says that all before it are done as well, since a
// reliable connection completes in order. Pure; engine's thread only. Its room is made once.
#pragma once

#include <cstdint>
#include <memory>

namespace godwit::fabric::verbs {

/// What a request holds until it is done.
struct Posted {
  // fetch: of an announced payload; copy: a piece of a one-sided one, in either direction.
  enum class Kind : std::uint8_t { nothing, slot, fetch, copy };
  Kind kind = Kind::nothing;
  std::uint32_t index = 0;  // the send slot; of fetch and copy, the bounce piece if it uses one
};

class SendLedger {
 public:
  /// `depth`: most requests at once.
  explicit SendLedger(std::uint32_t depth) : depth_(depth) {
    while (capacity_ < depth) capacity_ *= 2;
    ring_ = std::make_unique<Posted[]>(capacity_);
  }

  bool full() const noexcept { return posted_ - done_ >= depth_; }
  std::uint32_t unfinished() const noexcept { return posted_ - done_; }
  std::uint32_t next_sequence() const noexcept { return posted_; }

  /// Whether the next request must be signalled: often enough that the queue never fills with
  /// requests nobody hears of, and always under pressure.
  bool must_signal(bool pressure) const noexcept {
    return pressure || posted_ - signalled_ >= depth_ / 4;
  }

  /// Must not be full.
  void add(Posted what, bool signalled) noexcept {
    ring_[posted_ & (capacity_ - 1)] = what;
    ++posted_;
    if (signalled) signalled_ = posted_;
  }

  /// Calls `function` for each request up to `sequence` that was not done yet, oldest first. False
  /// for a number that is not out.
  template <typename Function>
  bool complete(std::uint32_t sequence, Function function) {
    if (sequence - done_ >= posted_ - done_) return false;
    while (done_ != sequence + 1) {
      const Posted what = ring_[done_ & (capacity_ - 1)];
      ++done_;
      function(what);
    }
    return true;
  }

 private:
  std::uint32_t depth_;
  std::uint32_t capacity_ = 1;  // a power of two
  std::unique_ptr<Posted[]> ring_;
  std::uint32_t posted_ = 0;  // wraps, as the others
  std::uint32_t done_ = 0;
  std::uint32_t signalled_ = 0;  // behind the last signalled one
};

}  // namespace godwit::fabric::verbs
