// What one run of the pair measures. Both sides are given the same values.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "godwit/fabric/transport.h"

namespace godwit::bench {

struct PairOptions {
  std::string test;
  std::string run_directory;  // of the agent; empty: embedded, the sides are two threads
  std::string dc = "bench";
  fabric::TransportKind transport = fabric::TransportKind::shm;
  std::chrono::nanoseconds spin = std::chrono::nanoseconds::max();
  std::size_t size = 64;              // bytes of a message, a request or a copy
  std::uint64_t count = 100000;       // operations that are timed
  std::uint64_t warmup = 10000;       // operations before
  std::chrono::nanoseconds think{0};  // of each side in each call, not counted
  bool handover = false;              // send memory of Process::allocate() instead of copying
};

}  // namespace godwit::bench
