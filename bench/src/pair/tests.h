// The measurements that two Godwit processes make together: what the client does and times, and
// what the server does meanwhile. Both run on the threads of their sides.
#pragma once

#include <span>
#include <string_view>

#include "pair/side.h"
#include "timing.h"

namespace godwit::bench {

struct PairTest {
  std::string_view name;
  std::string_view what;
  Timing (*client)(Side&);
  void (*server)(Side&);
};

/// One message there and one back; an operation is the round trip.
Timing ping_pong_client(Side& side);
void ping_pong_server(Side& side);

/// Messages one way as fast as the window lets them, until the last has been received.
Timing stream_client(Side& side);
void stream_server(Side& side);

/// A call and its reply, one at a time.
Timing call_client(Side& side);
/// Calls with as many in flight as the window allows.
Timing call_stream_client(Side& side);
void call_server(Side& side);

/// Reads a granted piece of the server's memory; an operation is one copy of `size` bytes.
Timing copy_client(Side& side);
void copy_server(Side& side);
/// The same, writing.
Timing copy_to_client(Side& side);
void copy_to_server(Side& side);

/// Finds the server by name when the process knows it already.
Timing lookup_client(Side& side);
void lookup_server(Side& side);

std::span<const PairTest> pair_tests();

}  // namespace godwit::bench
