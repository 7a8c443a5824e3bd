// What the simulated directory holds, and the writes that agents ask of it.
#pragma once

#include <array>
#include <cstdint>

#include "godwit/migrate/move.h"
#include "weather.h"

namespace godwit::move_simulator {

using NodeId = std::uint32_t;
using ProcessId = migrate::ProcessId;  // 1, 2, ...: place among the world's processes, plus 1
using MoveId = std::uint32_t;          // 1, 2, ...

inline constexpr std::uint32_t kMaxMoves = 8;

/// What is so from the plan of a move on; the processes that take part know it as well.
struct Plan {
  ProcessId source = 0;
  NodeId source_node = 0;
  NodeId target = 0;
  std::uint32_t target_incarnation = 0;
  std::array<migrate::Epoch, Weather::kMaxEndpoints> epochs{};
};

struct EndpointRecord {
  std::uint32_t version = 1;
  migrate::Epoch epoch = 1;
  ProcessId owner = 0;
  MoveId move = 0;
  bool moving = false;
  bool dead = false;
};

struct MoveRecord {
  std::uint32_t version = 0;  // 0: not planned yet
  bool active = false;
  migrate::Phase phase = migrate::Phase::planned;
  ProcessId process = 0;
};

struct NodeRecord {
  bool present = false;
  std::uint32_t incarnation = 0;
};

/// All of the directory as it was at one revision.
struct Snapshot {
  std::array<EndpointRecord, Weather::kMaxEndpoints> endpoints;
  std::array<MoveRecord, kMaxMoves + 1> moves;
  std::array<NodeRecord, Weather::kMaxNodes> nodes;
};

/// One write, with what it expects. It may be issued any number of times and arrive any time, also
/// after its agent has died.
struct Operation {
  enum class Kind : std::uint8_t { enroll, plan, prepared, intent, commit, abort, dead };
  Kind kind = Kind::enroll;
  NodeId node = 0;
  std::uint32_t incarnation = 0;  // of the agent
  MoveId move = 0;
  Plan plan;
  ProcessId process = 0;
  std::uint32_t members = 0;  // of `dead` and `enroll`: a bit for each
  std::array<std::uint32_t, Weather::kMaxEndpoints> versions{};
  std::uint32_t move_version = 0;
  bool applied = false;      // what the nonce in the record tells
  std::uint32_t issued = 0;  // how often, as far as a fault asks
  std::uint32_t revision = 0;
};

}  // namespace godwit::move_simulator
