#include "pair/tests.h"

namespace godwit::bench {

std::span<const PairTest> pair_tests() {
  static constexpr PairTest kTests[] = {
      {"ping-pong", "messages there and back", ping_pong_client, ping_pong_server},
      {"stream", "messages one way", stream_client, stream_server},
      {"call", "calls, one at a time", call_client, call_server},
      {"call-stream", "calls, a window in flight", call_stream_client, call_server},
      {"copy", "one-sided reads of granted memory", copy_client, copy_server},
      {"copy-to", "one-sided writes to granted memory", copy_to_client, copy_to_server},
      {"lookup", "finding a known name", lookup_client, lookup_server},
  };
  return kTests;
}

}  // namespace godwit::bench
