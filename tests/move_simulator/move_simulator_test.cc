// Moves under seeded schedules: none breaks a promise, and each planted fault is
// seen.
#include <gtest/gtest.h>

#include <iostream>

#include "campaign.h"

namespace godwit::move_simulator {
namespace {

constexpr std::uint64_t kSeed = 1;

void expect_kept(std::uint64_t schedules) {
  const Finding finding = run_campaign(kSeed, schedules, Rules{});
  EXPECT_FALSE(finding.found) << finding.failure
                              << "\nreplay it with: godwit_move_simulator --replay " << finding.seed
                              << " --verbose";
  // Schedules in which nothing happens would keep every promise.
  EXPECT_GT(finding.numbers.steps / schedules, 300u);
  EXPECT_GT(finding.numbers.calls / schedules, 10u);
  EXPECT_GT(finding.numbers.committed, schedules / 2);
  EXPECT_GT(finding.numbers.aborted, schedules / 10);
}

TEST(MoveSimulator, KeepsEveryPromise) {
  expect_kept(2'000);
}

TEST(HeavyMoveSimulator, KeepsEveryPromiseInManySchedules) {
  expect_kept(100'000);
}

class PlantedMoveFault : public testing::TestWithParam<Fault> {};

TEST_P(PlantedMoveFault, IsFoundWithinTenThousandSchedules) {
  Rules rules;
  ASSERT_TRUE(plant(GetParam().name, rules));
  const Finding finding = run_campaign(kSeed, 10'000, rules);
  ASSERT_TRUE(finding.found);
  std::cout << GetParam().name << ": found at schedule " << finding.schedule << ": "
            << finding.failure << "\n";
}

INSTANTIATE_TEST_SUITE_P(All, PlantedMoveFault, testing::ValuesIn(kFaults), [](const auto& param) {
  std::string name(param.param.name);
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
});

TEST(MoveSimulator, ReplaysASeedExactly) {
  Rules rules;
  ASSERT_TRUE(plant("forget-completions", rules));
  const Finding first = run_campaign(kSeed, 10'000, rules);
  const Finding second = run_campaign(kSeed, 10'000, rules);
  EXPECT_EQ(first.seed, second.seed);
  EXPECT_EQ(first.failure, second.failure);
  EXPECT_EQ(first.numbers.steps, second.numbers.steps);
}

}  // namespace
}  // namespace godwit::move_simulator
