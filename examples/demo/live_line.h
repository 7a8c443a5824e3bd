// LiveLine: what the demonstration is doing now. On a terminal one line that is written over;
// anywhere else a plain line at the beginning and at the end of each phase. One thread.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

namespace demo {

class LiveLine {
 public:
  explicit LiveLine(std::FILE* out);
  ~LiveLine() { clear(); }
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  void begin(std::string phase);
  /// Shown beside the phase on a terminal, at most some times a second.
  void show(const std::string& detail);
  /// Ends the phase with what came of it.
  void end(const std::string& outcome);

 private:
  void clear();

  std::FILE* out_;
  bool terminal_;
  bool dirty_ = false;
  unsigned turn_ = 0;
  std::string phase_;
  std::chrono::steady_clock::time_point began_, shown_;
};

}  // namespace demo
