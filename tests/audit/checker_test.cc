// A checker that cannot fail proves nothing: each rule is broken here on purpose, and must be
// found.
#include "checker.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "intervals.h"

namespace audit {
namespace {

// Two workers; actor 10 of worker 0 sends to worker 1 (actor 20): operations 1 to 9, of which calls
// 1 to 3, all in order, all answered.
class AuditCheckerTest : public ::testing::Test {
 protected:
  History sender_{0, 10, true, {}};
  History receiver_{1, 20, true, {}};
  std::vector<History> others_;

  AuditCheckerTest() {
    sender_.runs[{Stream::issued, 1}] = {{1, 9}};
    sender_.runs[{Stream::issued_calls, 1}] = {{1, 3}};
    sender_.runs[{Stream::ok, 1}] = {{1, 3}};
    receiver_.runs[{Stream::executed, 10}] = {{1, 9}};
    receiver_.runs[{Stream::executed_calls, 10}] = {{1, 3}};
  }

  Verdict verdict() const {
    std::vector<History> all = {sender_, receiver_};
    all.insert(all.end(), others_.begin(), others_.end());
    return check(all);
  }
  // The rules that were broken, each once.
  std::vector<Rule> broken() const {
    std::vector<Rule> rules;
    for (const Violation& each : verdict().violations) rules.push_back(each.rule);
    std::sort(rules.begin(), rules.end());
    rules.erase(std::unique(rules.begin(), rules.end()), rules.end());
    return rules;
  }
  using Rules = std::vector<Rule>;
};

TEST_F(AuditCheckerTest, FindsNothingInASoundHistory) {
  EXPECT_EQ(broken(), Rules{});
  EXPECT_EQ(verdict().operations, 9u);
  EXPECT_EQ(verdict().executed, 9u);
  EXPECT_EQ(verdict().ok, 3u);
  EXPECT_EQ(verdict().pairs, 1u);
}

TEST_F(AuditCheckerTest, RepliesMayComeInAnyOrder) {
  sender_.runs[{Stream::ok, 1}] = {{3, 1}, {1, 2}};
  EXPECT_EQ(broken(), Rules{});
}

TEST_F(AuditCheckerTest, FindsALostMessageAtTheEnd) {
  receiver_.runs[{Stream::executed, 10}] = {{1, 8}};
  EXPECT_EQ(broken(), Rules{Rule::lost});
}

TEST_F(AuditCheckerTest, FindsALostMessageInTheMiddle) {
  receiver_.runs[{Stream::executed, 10}] = {{1, 4}, {6, 4}};
  EXPECT_EQ(broken(), Rules{Rule::lost});
}

TEST_F(AuditCheckerTest, FindsAGapAlsoBeforeACrash) {
  receiver_.runs[{Stream::executed, 10}] = {{1, 4}, {6, 2}};
  receiver_.clean = false;
  EXPECT_EQ(broken(), Rules{Rule::lost});
}

TEST_F(AuditCheckerTest, FindsADoubledMessage) {
  receiver_.runs[{Stream::executed, 10}] = {{1, 5}, {5, 5}};
  EXPECT_EQ(broken(), Rules{Rule::doubled});
}

TEST_F(AuditCheckerTest, FindsACallExecutedByTwoLives) {
  others_.push_back({1, 21, true, {}});
  others_[0].runs[{Stream::executed_calls, 10}] = {{3, 1}};
  EXPECT_EQ(broken(), Rules{Rule::doubled});
}

TEST_F(AuditCheckerTest, FindsReorderedMessages) {
  receiver_.runs[{Stream::executed, 10}] = {{1, 3}, {5, 1}, {4, 1}, {6, 4}};
  EXPECT_EQ(broken(), Rules{Rule::reordered});
}

TEST_F(AuditCheckerTest, TellsDoubledAndReorderedApart) {
  receiver_.runs[{Stream::executed, 10}] = {{1, 3}, {5, 5}, {4, 1}, {2, 1}};
  EXPECT_EQ(broken(), (Rules{Rule::doubled, Rule::reordered}));
  EXPECT_EQ(verdict().broken[static_cast<std::size_t>(Rule::doubled)], 1u);
  EXPECT_EQ(verdict().broken[static_cast<std::size_t>(Rule::reordered)], 1u);
}

TEST_F(AuditCheckerTest, FindsWhatNobodySent) {
  receiver_.runs[{Stream::executed, 10}] = {{1, 10}};
  EXPECT_EQ(broken(), Rules{Rule::phantom});
  receiver_.runs[{Stream::executed, 10}] = {{1, 9}};
  receiver_.runs[{Stream::executed, 99}] = {{1, 1}};
  EXPECT_EQ(broken(), Rules{Rule::phantom});
}

TEST_F(AuditCheckerTest, FindsAnExecutedCallThatWasSaidNotToBe) {
  sender_.runs[{Stream::ok, 1}] = {{1, 2}};
  sender_.runs[{Stream::not_executed, 1}] = {{3, 1}};
  receiver_.clean = false;
  EXPECT_EQ(broken(), Rules{Rule::broken_word});
}

TEST_F(AuditCheckerTest, FindsAnExecutedMessageThatWasRefused) {
  sender_.runs[{Stream::refused, 1}] = {{9, 1}};
  receiver_.clean = false;
  EXPECT_EQ(broken(), Rules{Rule::broken_word});
}

TEST_F(AuditCheckerTest, FindsAnOkWithoutExecution) {
  receiver_.runs[{Stream::executed_calls, 10}] = {{1, 2}};
  receiver_.clean = false;
  EXPECT_EQ(broken(), Rules{Rule::lost});
}

TEST_F(AuditCheckerTest, FindsACallWithoutOutcome) {
  sender_.runs[{Stream::ok, 1}] = {{1, 2}};
  EXPECT_EQ(broken(), Rules{Rule::outcome_missing});
}

TEST_F(AuditCheckerTest, FindsTwoOutcomes) {
  receiver_.clean = false;
  sender_.runs[{Stream::unknown, 1}] = {{2, 1}};
  EXPECT_EQ(broken(), Rules{Rule::outcome_twice});
}

TEST_F(AuditCheckerTest, AnUnknownOutcomeNeedsADeath) {
  sender_.runs[{Stream::ok, 1}] = {{1, 2}};
  sender_.runs[{Stream::unknown, 1}] = {{3, 1}};
  EXPECT_EQ(broken(), Rules{Rule::unknown_unasked});
  receiver_.clean = false;
  EXPECT_EQ(broken(), Rules{});
}

TEST_F(AuditCheckerTest, ADeathExcusesWhatWasOnItsWayAndNothingElse) {
  // Killed after operation 5 and call 1; the successor takes over at operation 8, call 3.
  receiver_.clean = false;
  receiver_.runs[{Stream::executed, 10}] = {{1, 5}};
  receiver_.runs[{Stream::executed_calls, 10}] = {{1, 1}};
  others_.push_back({1, 21, true, {}});
  others_[0].runs[{Stream::executed, 10}] = {{8, 2}};
  others_[0].runs[{Stream::executed_calls, 10}] = {{3, 1}};
  sender_.runs[{Stream::ok, 1}] = {{1, 1}, {3, 1}};
  sender_.runs[{Stream::unknown, 1}] = {{2, 1}};
  EXPECT_EQ(broken(), Rules{});
}

TEST_F(AuditCheckerTest, FindsAHistoryThatCannotBe) {
  sender_.runs[{Stream::issued, 1}] = {{1, 4}, {6, 4}};
  EXPECT_NE(broken(), Rules{});
  others_.push_back(receiver_);
  EXPECT_NE(broken(), Rules{});
}

TEST(AuditIntervals, AddCommonWithout) {
  Intervals a;
  a.add(std::vector<audit::Run>{{10, 5}, {1, 3}, {4, 2}});  // 1-5, 10-14
  EXPECT_EQ(a.size(), 10u);
  EXPECT_EQ(a.doubled(), 0u);
  Intervals b = Intervals::range(5, 11);
  EXPECT_EQ(a.common(b).size(), 3u);   // 5, 10, 11
  EXPECT_EQ(a.without(b).size(), 7u);  // 1-4, 12-14
  EXPECT_EQ(b.without(a).size(), 4u);  // 6-9
  EXPECT_EQ(b.without(a).least(), 6u);
  a.add(std::vector<audit::Run>{{14, 2}});
  EXPECT_EQ(a.doubled(), 1u);
  EXPECT_EQ(a.first_doubled(), 14u);
  EXPECT_EQ(a.most(), 15u);
}

}  // namespace
}  // namespace audit
