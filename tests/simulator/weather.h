// Weather: what can go wrong in one schedule, and how often. Drawn from the seed, so that some
// schedules are calm but for one kind of fault and others have all of them.
#pragma once

#include <cstdint>

#include "frame.h"
#include "random.h"

namespace godwit::simulator {

struct Weather {
  explicit Weather(Random& random) {
    endpoints = random.between(2, 4);
    if (random.chance(50)) endpoints = 2;
    operations = random.between(10, 60);
    window = kWindows[random.below(4)];
    if (random.chance(50)) loss = random.below(20);
    if (random.chance(40)) duplication = random.below(20);
    reordering = random.chance(40);
    spread = random.between(1, 20);
    hasty = random.chance(50);
    if (random.chance(60)) breaks = random.between(1, 5);
    if (random.chance(50)) changes = random.between(1, 5);
    if (random.chance(50)) moves = random.between(1, 4);
    if (random.chance(20)) crashes = random.between(1, 2);
    if (random.chance(50)) first = 0u - random.below(40);
    burst = random.chance(2) ? channel::kWindow : random.between(1, 8);
  }

  static constexpr std::uint32_t kWindows[] = {2, 4, 16, channel::kWindow};
  static constexpr std::uint32_t kFaultyTime = 1500;  // afterwards the network is perfect

  std::uint32_t endpoints;
  std::uint32_t operations;       // of all applications together
  std::uint32_t burst;            // messages at most in one operation
  std::uint32_t window;           // the limit that senders keep to
  std::uint32_t loss = 0;         // percent of frames
  std::uint32_t duplication = 0;  // percent of frames
  bool reordering;                // of frames on one connection
  std::uint32_t spread;           // of a frame's delay
  bool hasty;                     // applications take at once
  std::uint32_t breaks = 0;       // connections that break
  std::uint32_t changes = 0;      // new connections beside a live one, also from both ends at once
  std::uint32_t moves = 0;
  std::uint32_t crashes = 0;
  Number first = 1;
};

}  // namespace godwit::simulator
