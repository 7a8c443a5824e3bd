#include <vector>

#include "pair/tests.h"

namespace godwit::bench {

Timing call_client(Side& side) {
  std::vector<std::byte> payload(side.options.size);
  std::uint64_t number = 0;
  const auto calls = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i, ++number) {
      put_number(payload.data(), number);
      const Message reply = must(side.me.call(side.peer, Bytes(payload)), "call");
      check_number(reply.payload(), number, payload.size());
      think(side.options.think);
    }
  };
  calls(side.options.warmup);
  Timing timing = time_batches(side.options.count, 100, calls);
  timing.without_thinking(2 * side.options.think);
  return timing;
}

Timing call_stream_client(Side& side) {
  std::vector<std::byte> payload(side.options.size);
  std::uint64_t started = 0;
  std::uint64_t answered = 0;
  const ReplyCallback completed = [&](Result<Message> result) {
    const Message reply = must(std::move(result), "call");
    check_number(reply.payload(), answered++, payload.size());
  };
  const auto calls = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i, ++started) {
      put_number(payload.data(), started);
      for (;;) {
        Result<void> result = side.me.call_async(side.peer, Bytes(payload), completed);
        if (result) break;
        if (result.error().code != Errc::would_block) must(result, "call_async");
        side.process.progress();
      }
    }
    must(side.process.run_until([&] { return answered == started; }), "run_until");
  };
  if (side.options.warmup != 0) calls(side.options.warmup);
  return time_batches(side.options.count, 1, calls);
}

void call_server(Side& side) {
  const std::uint64_t total = side.options.warmup + side.options.count;
  for (std::uint64_t number = 0; number < total; ++number) {
    Request request = must(side.me.receive_request(), "receive_request");
    const Bytes payload = request.payload();
    check_number(payload, number, side.options.size);
    think(side.options.think);
    must(side.me.reply(std::move(request), payload), "reply");
  }
  await_end(side);
}

}  // namespace godwit::bench
