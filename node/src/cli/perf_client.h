// The measuring side of `godwit perf`. Plain functions; the thread that found the peer.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/histogram.h"
#include "cli/peer.h"
#include "godwit/error.h"

namespace godwit::node::cli {

struct PerfPlan {
  std::uint64_t size = 0;   // bytes of payload
  std::uint64_t count = 0;  // operations; 0: by time
  std::chrono::nanoseconds duration = std::chrono::seconds(3);
  std::uint32_t window = 1;  // calls in flight
  std::stop_token stop;      // ends a measurement early; what was measured counts
};

/// One measured loop.
struct PerfRun {
  std::string operation;  // "call", "pingpong", "stream", "copy_to", "copy_from"
  std::uint64_t operations = 0;
  std::uint64_t bytes = 0;  // payload in one direction
  double seconds = 0;
  Histogram latencies;  // of whole round trips; empty for stream
};

/// Requests of `size` bytes that are answered with the same, `window` at a time.
Result<PerfRun> measure_calls(Peer& peer, const PerfPlan& plan);
/// A message there and back, one at a time.
Result<PerfRun> measure_pingpong(Peer& peer, const PerfPlan& plan);
/// Messages one way, as fast as they are taken; ends when the server has received all. An error if
/// it did not receive exactly those, in order.
Result<PerfRun> measure_stream(Peer& peer, const PerfPlan& plan);
/// One-sided copies of `size` bytes to the server's memory (`to`), from it (`from`), or first the
/// one, then the other. An error if the bytes are not the same at both ends afterwards.
Result<std::vector<PerfRun>> measure_copies(Peer& peer, const PerfPlan& plan, bool to, bool from);

}  // namespace godwit::node::cli
