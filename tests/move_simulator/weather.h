// Weather: the size of one schedule, what can go wrong in it, and how often. Drawn from the seed,
// so that some schedules are calm but for one kind of fault and others have all of them.
#pragma once

#include <cstdint>

#include "godwit/migrate/move.h"
#include "simulator/random.h"

namespace godwit::move_simulator {

using simulator::Random;

struct Weather {
  explicit Weather(Random& random) {
    nodes = random.between(2, kMaxNodes);
    endpoints = random.between(1, kMaxEndpoints);
    clients = random.between(1, kMaxClients);
    calls = random.between(6, 40);
    moves = random.between(1, 6);
    spread = random.between(1, 6);
    if (random.chance(30)) stale = random.below(60);
    if (random.chance(50)) slow_handlers = random.below(20);
    if (random.chance(40)) late_writes = random.below(30);
    single_marks = random.chance(50);
    if (random.chance(40)) process_crashes = 1;
    if (random.chance(45)) agent_crashes = random.between(1, 3);
    if (random.chance(40)) pauses = random.between(1, 3);
    if (random.chance(40)) cuts = random.between(1, 3);
    if (random.chance(40)) partitions = random.between(1, 3);
    if (random.chance(25)) outages = random.between(1, 2);
    if (random.chance(15)) node_losses = 1;
    if (random.chance(15)) client_faults = random.between(1, 2);
  }

  static constexpr std::uint32_t kMaxNodes = 4;
  static constexpr std::uint32_t kMaxEndpoints = 3;
  static constexpr std::uint32_t kMaxClients = 3;
  static constexpr std::uint32_t kFaultyTime = 1200;  // afterwards everything that lives works
  static constexpr std::uint32_t kSession = 60;       // silence of an agent until it is expired
  static constexpr std::uint32_t kGrace = 40;         // for an expired one until it is judged

  std::uint32_t nodes;
  std::uint32_t endpoints;
  std::uint32_t clients;
  std::uint32_t calls;              // of all clients together
  std::uint32_t moves;              // that are tried
  std::uint32_t spread;             // of a message's delay
  std::uint32_t stale = 0;          // percent of readings that are behind
  std::uint32_t slow_handlers = 0;  // percent of requests that take longer than the quiet limit
  std::uint32_t late_writes = 0;    // percent of writes that arrive long after they were issued
  bool single_marks;                // the dead are marked one by one, not in one multi
  std::uint32_t process_crashes = 0;
  std::uint32_t agent_crashes = 0;
  std::uint32_t pauses = 0;      // of agents and processes; some longer than a session
  std::uint32_t cuts = 0;        // between two nodes, one way or both
  std::uint32_t partitions = 0;  // between an agent and the directory
  std::uint32_t outages = 0;     // of the directory
  std::uint32_t node_losses = 0;
  std::uint32_t client_faults = 0;
};

/// In ticks, which stand for milliseconds.
inline migrate::Limits limits_of_schedule() {
  migrate::Limits limits;
  limits.prepare = std::chrono::milliseconds(250);
  limits.blackout = std::chrono::milliseconds(120);
  limits.quiet = std::chrono::milliseconds(25);
  limits.rounds = 4;
  return limits;
}

inline migrate::Time time_of(std::uint64_t tick) {
  return migrate::Time(std::chrono::milliseconds(tick));
}
inline std::uint64_t tick_of(migrate::Time time) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count());
}

}  // namespace godwit::move_simulator
