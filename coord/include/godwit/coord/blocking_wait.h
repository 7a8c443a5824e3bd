// Definition of blocking::wait (see blocking.h, which includes this). The state
// shared with the callback outlives whichever of the two ends first.
#pragma once

#include <godwit/coord/coordinator.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

namespace godwit::coord::blocking {

// Aborts with a message when called on the coordinator's callback thread.
void assert_may_block(const Coordinator& coordinator);

template <typename T>
Result<T> wait(Coordinator& coordinator, Deadline deadline,
               const std::function<void(Callback<T>)>& start) {
  assert_may_block(coordinator);
  struct State {
    std::mutex mutex;
    std::condition_variable ready;
    std::optional<Result<T>> result;
  };
  auto state = std::make_shared<State>();
  start([state](Result<T> result) {
    std::lock_guard lock(state->mutex);
    state->result.emplace(std::move(result));
    state->ready.notify_one();
  });
  // The operation ends by itself at the deadline, and knows then whether it was
  // sent (`unavailable` or `deadline`); a grace lets that better answer through.
  constexpr auto kGrace = std::chrono::milliseconds(250);
  std::unique_lock lock(state->mutex);
  const Deadline limit = std::max(deadline, std::chrono::steady_clock::now()) + kGrace;
  if (!state->ready.wait_until(lock, limit, [&] { return state->result.has_value(); }))
    return fail(Errc::deadline, "no answer before the deadline");
  return std::move(*state->result);
}

}  // namespace godwit::coord::blocking
