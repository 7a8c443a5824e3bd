// Reorder: frames leave in the order of their numbers, whatever order they came in.
#include "ucx/reorder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace godwit::fabric::ucx {
namespace {

HeldFrame frame(std::uint32_t number) {
  HeldFrame held;
  held.header.upper[0] = number;
  return held;
}

TEST(UcxReorder, PassesFramesInOrder) {
  Reorder reorder(8);
  EXPECT_TRUE(reorder.pass(0));
  EXPECT_TRUE(reorder.pass(1));
  EXPECT_FALSE(reorder.pass(1));
  EXPECT_FALSE(reorder.pass(3));
  EXPECT_EQ(reorder.held(), 0u);
}

TEST(UcxReorder, HoldsWhatFollowsAnUnfinishedFrame) {
  Reorder reorder(8);
  ASSERT_TRUE(reorder.claim(0));
  EXPECT_FALSE(reorder.pass(1));  // must not overtake the one that is still on its way
  ASSERT_TRUE(reorder.claim(1));
  reorder.fill(1, frame(1));
  EXPECT_FALSE(reorder.pop());
  reorder.fill(0, frame(0));
  EXPECT_EQ(reorder.pop()->header.upper[0], 0u);
  EXPECT_EQ(reorder.pop()->header.upper[0], 1u);
  EXPECT_FALSE(reorder.pop());
  EXPECT_TRUE(reorder.pass(2));
}

TEST(UcxReorder, RefusesWhatItHasSeenAndWhatIsTooFarAhead) {
  Reorder reorder(4);
  ASSERT_TRUE(reorder.claim(1));
  EXPECT_FALSE(reorder.claim(1));
  EXPECT_FALSE(reorder.claim(4));
  EXPECT_TRUE(reorder.claim(3));
  ASSERT_TRUE(reorder.claim(0));
  reorder.fill(0, frame(0));
  ASSERT_TRUE(reorder.pop());
  EXPECT_FALSE(reorder.claim(0));  // seen before: far ahead, as numbers wrap
  EXPECT_TRUE(reorder.claim(4));
}

TEST(UcxReorder, AnyOrderComesOutSortedAcrossTheWrap) {
  std::mt19937 random(20);
  constexpr std::uint32_t kWindow = 64;
  const std::uint32_t first = 0u - 100 * kWindow;  // the numbers wrap half-way
  std::uint32_t expected = first;
  Reorder reorder(kWindow, first);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::uint32_t> numbers(kWindow);
    std::iota(numbers.begin(), numbers.end(), expected);
    std::shuffle(numbers.begin(), numbers.end(), random);
    for (const std::uint32_t number : numbers) {
      if (reorder.pass(number)) {
        ASSERT_EQ(number, expected++);
        continue;
      }
      ASSERT_TRUE(reorder.claim(number));
      reorder.fill(number, frame(number));
      while (auto held = reorder.pop()) ASSERT_EQ(held->header.upper[0], expected++);
    }
    ASSERT_EQ(reorder.held(), 0u);
  }
  EXPECT_EQ(expected, 100 * kWindow);
}

}  // namespace
}  // namespace godwit::fabric::ucx
