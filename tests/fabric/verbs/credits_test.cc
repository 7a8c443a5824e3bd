#include "verbs/credits.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <vector>

namespace godwit::fabric::verbs {
namespace {

TEST(VerbsCredits, TheLastCreditIsForUpdates) {
  Credits credits(8);
  for (std::uint32_t i = 0; i + 1 < Credits::kHandshake; ++i) {
    ASSERT_TRUE(credits.may_send());
    credits.spend();
  }
  EXPECT_FALSE(credits.may_send());
  EXPECT_TRUE(credits.may_update());
  credits.spend();
  EXPECT_FALSE(credits.may_update());
}

TEST(VerbsCredits, ThePeersWindowOpensBehindTheHandshake) {
  Credits credits(8);
  credits.spend();
  credits.open(32);
  EXPECT_EQ(credits.available(), 31u);
}

TEST(VerbsCredits, CreditsThatWereNeverSpentAreRefused) {
  Credits credits(8);
  credits.open(16);
  credits.spend();
  EXPECT_TRUE(credits.returned(1));
  EXPECT_FALSE(credits.returned(1));
}

TEST(VerbsCredits, APeerMayFillItsWindowAndNotMore) {
  Credits credits(8);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(credits.arrived());
  EXPECT_FALSE(credits.arrived());
}

TEST(VerbsCredits, AnUpdateIsDueAtHalfAWindow) {
  Credits credits(8);
  for (int i = 0; i < 3; ++i) {
    credits.arrived();
    credits.freed();
    EXPECT_FALSE(credits.update_due());
  }
  credits.arrived();
  credits.freed();
  EXPECT_TRUE(credits.update_due());
  EXPECT_EQ(credits.take_owed(100), 4u);
  EXPECT_FALSE(credits.update_due());
}

// Two sides that send whatever they may, with updates as the connection sends them: at no time do
// both wait while nothing is on its way, and nobody ever breaks a window.
TEST(VerbsCredits, TwoSidesNeverWaitForEachOther) {
  struct Side {
    Credits credits;
    std::deque<std::uint32_t> wire;  // towards the other side: credits that each message returns
    std::uint32_t sent = 0;
  };
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const std::uint32_t windows[2] = {4u + seed % 13, 4u + seed / 13 % 9};
    Side sides[2] = {{Credits(windows[0]), {}}, {Credits(windows[1]), {}}};
    sides[0].credits.open(windows[1]);
    sides[1].credits.open(windows[0]);
    for (int step = 0; step < 3000; ++step) {
      Side& self = sides[random() % 2];
      Side& other = &self == &sides[0] ? sides[1] : sides[0];
      const auto transmit = [&] {
        self.wire.push_back(self.credits.take_owed(0xfff));
        self.credits.spend();
      };
      if (random() % 3 == 0) {
        while (self.credits.may_send()) {
          transmit();
          ++self.sent;
        }
      } else if (!other.wire.empty()) {
        ASSERT_TRUE(self.credits.arrived()) << "seed " << seed;
        ASSERT_TRUE(self.credits.returned(other.wire.front())) << "seed " << seed;
        other.wire.pop_front();
        self.credits.freed();
        if (self.credits.update_due() && self.credits.may_update()) transmit();
      } else if (self.wire.empty()) {
        ASSERT_TRUE(self.credits.may_send() || other.credits.may_send()) << "seed " << seed;
      }
    }
    EXPECT_GT(sides[0].sent + sides[1].sent, 500u);
  }
}

TEST(VerbsWindowBudget, LaterPeersGetSmallerWindowsAndTheSumIsKept) {
  WindowBudget budget(1024, 64);
  std::vector<std::uint32_t> windows;
  std::uint32_t sum = 0;
  while (const std::uint32_t window = budget.take()) {
    if (!windows.empty()) {
      EXPECT_LE(window, windows.back());
    }
    EXPECT_GE(window, Credits::kSmallestWindow);
    windows.push_back(window);
    sum += window + 1;
    ASSERT_EQ(budget.promised(), sum);
    ASSERT_LE(sum, 1024u);
  }
  EXPECT_EQ(windows.front(), 64u);
  EXPECT_GT(windows.size(), 40u);
  for (const std::uint32_t window : windows) budget.give_back(window);
  EXPECT_EQ(budget.promised(), 0u);
  EXPECT_EQ(budget.take(), 64u);
}

TEST(VerbsWindowBudget, TooFewBuffersForAnybody) {
  WindowBudget budget(4, 64);
  EXPECT_EQ(budget.take(), 0u);
}

}  // namespace
}  // namespace godwit::fabric::verbs
