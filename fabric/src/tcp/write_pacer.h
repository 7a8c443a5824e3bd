// WritePacer: decides when queued frames of a tcp connection leave. No clock, no I/O: time comes
// in.
//
// A system call costs about as long as kQuiet, so a connection whose last write is at least that
// old sends at once (a lone message waits for nothing), and one that has just written collects what
// follows into one call. The rule, with what the connection adds to it:
//
//   bytes leave                             when
//   inside send() or post()                 nothing is queued and the last write is kQuiet ago, and
//                                           the call does not come from inside a receive handler
//   inside send() or post()                 the batch is full: kBatchFrames or kBatchBytes queued
//   inside flush()                          always
//   inside Transport::progress()            the last write is kQuiet ago
//   inside Transport::arm()                 always: nothing waits while the engine sleeps
//
// A socket whose buffer is full takes nothing; it is then tried again by progress() at that pace,
// or when the poller says that it has room.
#pragma once

#include <chrono>
#include <cstddef>

namespace godwit::fabric::tcp {

class WritePacer {
 public:
  using Time = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::nanoseconds kQuiet = std::chrono::microseconds(4);
  static constexpr std::size_t kBatchFrames = 128;
  static constexpr std::size_t kBatchBytes = 32u << 10;

  /// Whether a write may happen now without being one of many small ones.
  bool due(Time now) const noexcept { return now - last_ >= kQuiet; }

  static bool batch_full(std::size_t frames, std::size_t bytes) noexcept {
    return frames >= kBatchFrames || bytes >= kBatchBytes;
  }

  /// A write was tried.
  void wrote(Time now) noexcept { last_ = now; }

 private:
  Time last_{};
};

}  // namespace godwit::fabric::tcp
