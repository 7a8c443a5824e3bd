// Task: the smallest coroutine type that works with co_await endpoint.co_call(...). It starts at
// once and cleans up after itself; the program's own coroutine library serves as well.
#pragma once

#include <coroutine>
#include <exception>

struct Task {
  struct promise_type {
    Task get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    // Godwit throws nothing; whatever else throws here is a defect of the program.
    void unhandled_exception() noexcept { std::terminate(); }
  };
};
