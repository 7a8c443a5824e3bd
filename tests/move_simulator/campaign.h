// Runs many schedules, one after another, until a promise is broken.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "rules.h"
#include "world.h"

namespace godwit::move_simulator {

struct Finding {
  bool found = false;
  std::uint64_t schedule = 0;  // counted from 1
  std::uint64_t seed = 0;      // replays it
  std::string failure;
  World::Numbers numbers;  // of all schedules together
};

/// The seed of schedule number `schedule` in the campaign that starts at `seed`.
std::uint64_t seed_of(std::uint64_t seed, std::uint64_t schedule);

Finding run_campaign(std::uint64_t seed, std::uint64_t schedules, const Rules& rules);

/// All rules kept but the one that the fault breaks. False: no fault has this name.
bool plant(std::string_view fault, Rules& rules);

}  // namespace godwit::move_simulator
