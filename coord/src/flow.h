// Flow: a sequence of asynchronous steps written as a coroutine. It starts at once,
// belongs to nobody, and ends by itself; its last act is to call the user's callback.
//
//   Flow example(std::shared_ptr<Impl> self, Deadline deadline, Callback<void> done) {
//     auto record = co_await Step<Record>([&](Callback<Record> next) {
//       self->coordinator.get("/a", deadline, std::move(next));
//     });
//     ...
//   }
//
// Rules: parameters by value (references would not outlive the caller). Each step's
// callback is called exactly once, as a Coordinator does; so no frame is leaked. The
// code after a co_await runs on the callback thread.
#pragma once

#include <godwit/coord/coordinator.h>

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

namespace godwit::coord {

struct Flow {
  struct promise_type {
    Flow get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }  // none is thrown here
  };
};

// One step: `start` is called with the callback that continues the flow.
template <typename T>
class Step {
 public:
  explicit Step(std::function<void(Callback<T>)> start) : start_(std::move(start)) {}

  // Starts it with a callback instead of awaiting it.
  void start_with(Callback<T> next) { std::exchange(start_, {})(std::move(next)); }

  bool await_ready() const noexcept { return false; }
  // Not inlined: the callback may resume the flow before start returns, and end it; so
  // what is in use here must stand on the stack, not in the flow's frame, where an
  // inlining compiler may put it (LLVM issue 56301).
  [[gnu::noinline]] void await_suspend(std::coroutine_handle<> flow) {
    const auto start = std::move(start_);
    start([this, flow](Result<T> result) {
      result_.emplace(std::move(result));
      flow.resume();
    });
  }
  Result<T> await_resume() { return std::move(*result_); }

 private:
  std::function<void(Callback<T>)> start_;
  std::optional<Result<T>> result_;
};

}  // namespace godwit::coord
