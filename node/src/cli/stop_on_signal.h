// StopOnSignal: turns SIGINT, SIGTERM and SIGHUP into a stop_token that ends waits.
//
// Make it before any other thread of the program, so that all of them leave the signals to it. The
// first signal requests the stop; a second one ends the program at once, by that signal. Owner: a
// command's action.
#pragma once

#include <csignal>
#include <stop_token>
#include <thread>

namespace godwit::node::cli {

class StopOnSignal {
 public:
  StopOnSignal();
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

  std::stop_token token() const { return source_.get_token(); }
  bool stopped() const { return source_.stop_requested(); }

 private:
  void watch();

  sigset_t former_;
  int signals_;  // signalfd
  int ending_;   // eventfd
  std::stop_source source_;
  std::thread watcher_;
};

}  // namespace godwit::node::cli
