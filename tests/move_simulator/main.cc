// godwit_move_simulator: runs seeded schedules of moves and says which promise broke.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>

#include "campaign.h"
#include "world.h"

namespace {

using namespace godwit::move_simulator;

int replay(std::uint64_t seed, const Rules& rules, bool verbose) {
  World world(seed, rules, verbose);
  const std::string failure = world.run();
  std::printf("seed %llu: %s (%llu steps, %llu calls, %llu moves)\n",
              static_cast<unsigned long long>(seed),
              failure.empty() ? "all promises kept" : failure.c_str(),
              static_cast<unsigned long long>(world.numbers().steps),
              static_cast<unsigned long long>(world.numbers().calls),
              static_cast<unsigned long long>(world.numbers().moves));
  return failure.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Runs seeded schedules of moves against the promises of their protocol. "
      "Exit status: 0 if all were kept, 1 if one was broken.");
  std::uint64_t schedules = 10'000;
  std::uint64_t seed = 1;
  std::string fault;
  std::optional<std::uint64_t> replayed;
  bool verbose = false;
  std::string faults;
  for (const Fault& known : kFaults)
    faults += (faults.empty() ? "" : ", ") + std::string(known.name);
  app.add_option("--schedules", schedules, "How many to run")->capture_default_str();
  app.add_option("--seed", seed, "Where the campaign starts")->capture_default_str();
  app.add_option("--fault", fault, "Break one rule: " + faults);
  app.add_option("--replay", replayed, "Run the one schedule of this seed");
  app.add_flag("--verbose", verbose, "Print each event (with --replay)");
  CLI11_PARSE(app, argc, argv);

  Rules rules;
  if (!fault.empty() && !plant(fault, rules)) {
    std::fprintf(stderr, "no fault is called '%s'; there are: %s\n", fault.c_str(), faults.c_str());
    return 2;
  }
  if (replayed) return replay(*replayed, rules, verbose);

  const auto start = std::chrono::steady_clock::now();
  const Finding finding = run_campaign(seed, schedules, rules);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (finding.found) {
    std::printf(
        "schedule %llu of seed %llu broke a promise: %s\nreplay it with: --replay %llu%s%s "
        "--verbose\n",
        static_cast<unsigned long long>(finding.schedule), static_cast<unsigned long long>(seed),
        finding.failure.c_str(), static_cast<unsigned long long>(finding.seed),
        fault.empty() ? "" : " --fault ", fault.c_str());
    return 1;
  }
  const World::Numbers& numbers = finding.numbers;
  std::printf(
      "%llu schedules, %llu steps, %llu calls executed, %llu moves planned (%llu committed, %llu "
      "aborted), %llu schedules with a death, in %.1f s: all promises kept\n",
      static_cast<unsigned long long>(schedules), static_cast<unsigned long long>(numbers.steps),
      static_cast<unsigned long long>(numbers.calls),
      static_cast<unsigned long long>(numbers.moves),
      static_cast<unsigned long long>(numbers.committed),
      static_cast<unsigned long long>(numbers.aborted),
      static_cast<unsigned long long>(numbers.deaths), seconds);
  return 0;
}
