#include <vector>

#include "pair/tests.h"

namespace godwit::bench {

namespace {

/// Sends numbered messages of one size, by copy or from the pool.
class Sender {
 public:
  explicit Sender(Side& side) : side_(side), payload_(side.options.size) {}

  void send(std::uint64_t number) {
    if (side_.options.handover) {
      fabric::Buffer buffer = must(side_.process.allocate(payload_.size()), "allocate");
      put_number(buffer.data(), number);
      must(side_.me.send(side_.peer, std::move(buffer)), "send");
    } else {
      put_number(payload_.data(), number);
      must(side_.me.send(side_.peer, Bytes(payload_)), "send");
    }
  }

 private:
  Side& side_;
  std::vector<std::byte> payload_;
};

void receive_number(Side& side, std::uint64_t expected, std::size_t size) {
  const Message message = must(side.me.receive(), "receive");
  check_number(message.payload(), expected, size);
}

// The receiver of a stream says by this that it has everything.
constexpr std::size_t kDoneSize = sizeof(std::uint64_t);

void send_done(Side& side, std::uint64_t count) {
  std::byte done[kDoneSize];
  put_number(done, count);
  must(side.me.send(side.peer, Bytes(done)), "send");
}

}  // namespace

Timing ping_pong_client(Side& side) {
  Sender sender(side);
  std::uint64_t number = 0;
  const auto round_trips = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i, ++number) {
      sender.send(number);
      receive_number(side, number, side.options.size);
    }
  };
  round_trips(side.options.warmup);
  return time_batches(side.options.count, 100, round_trips);
}

void ping_pong_server(Side& side) {
  Sender sender(side);
  const std::uint64_t total = side.options.warmup + side.options.count;
  for (std::uint64_t number = 0; number < total; ++number) {
    receive_number(side, number, side.options.size);
    sender.send(number);
  }
  await_end(side);
}

Timing stream_client(Side& side) {
  Sender sender(side);
  std::uint64_t number = 0;
  const auto stream = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) sender.send(number++);
    receive_number(side, number, kDoneSize);
  };
  if (side.options.warmup != 0) stream(side.options.warmup);
  return time_batches(side.options.count, 1, stream);
}

void stream_server(Side& side) {
  std::uint64_t number = 0;
  const auto drain = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) receive_number(side, number++, side.options.size);
    send_done(side, number);
  };
  if (side.options.warmup != 0) drain(side.options.warmup);
  drain(side.options.count);
  await_end(side);
}

}  // namespace godwit::bench
