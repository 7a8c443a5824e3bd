// What the kernel's own means of communication cost: two processes (a fork), each on a core of its
// own. Godwit takes no part. An operation of a ping-pong is the round trip.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string_view>

#include "timing.h"

namespace godwit::bench {

struct PeerOptions {
  std::size_t size = 64;
  std::uint64_t count = 100000;
  std::uint64_t warmup = 10000;
  std::chrono::nanoseconds think{0};  // of each side in each round trip, not counted
  int parent_cpu = -1;                // -1: wherever the kernel likes
  int child_cpu = -1;
};

struct PeerTest {
  std::string_view name;
  std::string_view what;
  Timing (*run)(const PeerOptions&);
};

/// Two words in shared memory; each side sleeps in FUTEX_WAIT until the other wakes it. Carries no
/// payload: the least that two sleeping processes can do.
Timing futex_ping_pong(const PeerOptions& options);
Timing pipe_ping_pong(const PeerOptions& options);
Timing unix_ping_pong(const PeerOptions& options);
/// Blocking TCP over loopback with TCP_NODELAY.
Timing tcp_ping_pong(const PeerOptions& options);
/// Plain sockets: blocking send() and recv() of `size` bytes one way over loopback TCP, until the
/// receiver has confirmed the last byte.
Timing tcp_stream(const PeerOptions& options);

std::span<const PeerTest> peer_tests();

}  // namespace godwit::bench
