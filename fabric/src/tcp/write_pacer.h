// WritePacer: decides when queued frames of a tcp connection leave. No clock, no I/O: time comes
// in.
//
// A connection pauses after each write for as long as the write took (a system call with all the
// kernel does in it), at least kShortestPause and at most kLongestPause. A lone message finds the
// pause over and leaves at once; what a burst sends during the pause is collected into one call, so
// that a sender spends at most about half of its time on calls. The rule, with what the connection
// adds to it:
//
//   bytes leave                             when
//   inside send() or post()                 nothing is queued, the pause is over, and the call does
//                                           not come from inside a receive handler
//   inside send() or post()                 the batch is full: kBatchFrames or kBatchBytes queued
//   inside flush()                          always
//   inside Transport::progress()            the pause is over
//   inside Transport::arm()                 always: nothing waits while the engine sleeps
//
// A socket whose buffer is full takes nothing; it is then tried again by progress() at that pace,
// or when the poller says that it has room.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace godwit::fabric::tcp {

class WritePacer {
 public:
  using Time = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::nanoseconds kShortestPause = std::chrono::microseconds(3);
  static constexpr std::chrono::nanoseconds kLongestPause = std::chrono::microseconds(30);
  static constexpr std::size_t kBatchFrames = 128;
  static constexpr std::size_t kBatchBytes = 32u << 10;

  /// Whether a write may happen now without being one of many small ones.
  bool due(Time now) const noexcept { return now >= pause_ends_; }

  static bool batch_full(std::size_t frames, std::size_t bytes) noexcept {
    return frames >= kBatchFrames || bytes >= kBatchBytes;
  }

  /// A write was tried.
  void wrote(Time began, Time ended) noexcept {
    pause_ends_ = ended + std::clamp(ended - began, kShortestPause, kLongestPause);
  }

 private:
  Time pause_ends_{};
};

}  // namespace godwit::fabric::tcp
