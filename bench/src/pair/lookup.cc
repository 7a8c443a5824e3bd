#include "pair/tests.h"

namespace godwit::bench {

Timing lookup_client(Side& side) {
  const std::string name = side.options.dc + "/server";
  const auto lookups = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const Remote found = must(side.me.lookup(name), "lookup");
      if (found.id() != side.peer.id()) throw BenchFailure("lookup found another endpoint");
    }
  };
  lookups(side.options.warmup);
  return time_batches(side.options.count, 100, lookups);
}

void lookup_server(Side& side) {
  await_end(side);
}

}  // namespace godwit::bench
