// on_loop(): carries an answer of coord/ from the coordinator's callback thread to the agent's.
//
// The wrapped function runs on the loop, and not at all once the Lifetime it was made with has
// ended: what it captures of the Lifetime's owner is valid whenever it runs.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "agent/event_loop.h"
#include "godwit/coord/coordinator.h"

namespace godwit::node {

/// A member of whoever hands out callbacks that capture `this`. Loop's thread.
class Lifetime {
 public:
  Lifetime() : alive_(std::make_shared<bool>(true)) {}
  Lifetime(const Lifetime&) = delete;
  Lifetime& operator=(const Lifetime&) = delete;
  ~Lifetime() { *alive_ = false; }
  std::shared_ptr<const bool> token() const { return alive_; }

 private:
  std::shared_ptr<bool> alive_;
};

template <typename T, typename Function>
coord::Callback<T> on_loop(EventLoop& loop, const Lifetime& lifetime, Function function) {
  // Shared, because a std::function must be copyable and the answers are moved.
  return [&loop, alive = lifetime.token(),
          function = std::make_shared<Function>(std::move(function))](coord::Result<T> result) {
    loop.post([alive, function, result = std::make_shared<coord::Result<T>>(std::move(result))] {
      if (*alive) (*function)(std::move(*result));
    });
  };
}

inline coord::Watcher watcher_on_loop(EventLoop& loop, const Lifetime& lifetime,
                                      std::function<void()> function) {
  return [&loop, alive = lifetime.token(), function = std::move(function)] {
    loop.post([alive, function] {
      if (*alive) function();
    });
  };
}

}  // namespace godwit::node
