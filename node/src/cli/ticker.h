// Ticker: what a command that shows something every so often waits on: time, keys and signals, in
// one place. Owner: a command's action, on its thread. While one exists SIGINT, SIGTERM, SIGHUP,
// SIGTSTP and SIGWINCH come here and nowhere else, so make it before other threads.
#pragma once

#include <chrono>
#include <csignal>
#include <optional>

#include "godwit/error.h"

namespace godwit::node::cli {

class Ticker {
 public:
  enum class Event {
    tick,     // the interval has passed
    key,      // key() has it
    stop,     // SIGINT, SIGTERM or SIGHUP
    suspend,  // SIGTSTP: the caller restores the terminal and calls suspend()
    resize,   // SIGWINCH
  };

  static constexpr std::chrono::nanoseconds kShortest = std::chrono::milliseconds(10);

  /// invalid_argument for an interval below kShortest. `keys`: also reads single bytes from
  /// standard input.
  static Result<Ticker> create(std::chrono::nanoseconds interval, bool keys);
  Ticker(Ticker&& other) noexcept;
  Ticker& operator=(Ticker&&) = delete;
  ~Ticker();

  Event wait();
  char key() const { return key_; }
  /// Stops this process as Ctrl-Z does; returns when it is continued.
  void suspend();

 private:
  Ticker() = default;

  std::optional<sigset_t> former_;
  int signals_ = -1;  // signalfd
  int timer_ = -1;    // timerfd
  bool keys_ = false;
  char key_ = 0;
};

}  // namespace godwit::node::cli
