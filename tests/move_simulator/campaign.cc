#include "campaign.h"

#include "simulator/random.h"

namespace godwit::move_simulator {

std::uint64_t seed_of(std::uint64_t seed, std::uint64_t schedule) {
  return simulator::Random(seed + schedule * 0xD1B54A32D192ED03u).next();
}

Finding run_campaign(std::uint64_t seed, std::uint64_t schedules, const Rules& rules) {
  Finding finding;
  for (finding.schedule = 1; finding.schedule <= schedules; ++finding.schedule) {
    finding.seed = seed_of(seed, finding.schedule);
    World world(finding.seed, rules);
    finding.failure = world.run();
    const World::Numbers& numbers = world.numbers();
    finding.numbers.steps += numbers.steps;
    finding.numbers.calls += numbers.calls;
    finding.numbers.moves += numbers.moves;
    finding.numbers.committed += numbers.committed;
    finding.numbers.aborted += numbers.aborted;
    finding.numbers.deaths += numbers.deaths;
    if (!finding.failure.empty()) {
      finding.found = true;
      break;
    }
  }
  return finding;
}

bool plant(std::string_view name, Rules& rules) {
  for (const Fault& fault : kFaults) {
    if (fault.name != name) continue;
    rules.*fault.rule = false;
    return true;
  }
  return false;
}

}  // namespace godwit::move_simulator
