// Wait: how long a blocking primitive may wait, and how another thread ends it early.
#pragma once

#include <chrono>
#include <stop_token>
#include <utility>

namespace godwit {

/// Made from a duration (`50ms`), a point of time, or nothing (`forever`); optionally with a
/// std::stop_token, whose request_stop() from any thread ends the wait with Errc::cancelled.
class Wait {
 public:
  using Clock = std::chrono::steady_clock;

  Wait() = default;
  Wait(std::stop_token stop) : stop_(std::move(stop)) {}    // NOLINT: implicit
  Wait(Clock::time_point until, std::stop_token stop = {})  // NOLINT: implicit
      : until_(until), stop_(std::move(stop)) {}
  template <typename Rep, typename Period>
  Wait(std::chrono::duration<Rep, Period> limit, std::stop_token stop = {})  // NOLINT: implicit
      : limit_(std::chrono::ceil<std::chrono::nanoseconds>(limit)), stop_(std::move(stop)) {}

  /// The absolute deadline; a relative limit counts from the first call of this function.
  Clock::time_point until() const {
    if (limit_ != std::chrono::nanoseconds::max()) {
      until_ = Clock::now() + limit_;
      limit_ = std::chrono::nanoseconds::max();
    }
    return until_;
  }
  /// Whether this never waits (a zero or negative limit).
  bool immediate() const noexcept { return limit_ <= std::chrono::nanoseconds::zero(); }
  bool forever() const noexcept {
    return limit_ == std::chrono::nanoseconds::max() && until_ == Clock::time_point::max();
  }
  const std::stop_token& stop() const noexcept { return stop_; }

 private:
  mutable std::chrono::nanoseconds limit_ = std::chrono::nanoseconds::max();
  mutable Clock::time_point until_ = Clock::time_point::max();
  std::stop_token stop_;
};

/// Waits until the primitive is done, the peer dies, or the endpoint is closed.
inline const Wait forever{};

}  // namespace godwit
