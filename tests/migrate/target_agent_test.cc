#include "godwit/migrate/target_agent.h"

#include <gtest/gtest.h>

#include "described.h"

namespace godwit::migrate {
namespace {

using State = TargetAgent::State;

class TargetAgentTest : public testing::Test {
 protected:
  std::string record(const Record& record, int now = 0) {
    return described(agent.on_record(record, at(now)));
  }
  std::string settled(const Record& record, int now = 0) {
    return described(agent.on_settled(record, at(now)));
  }
  std::string report(Report report, Reason reason = Reason::none, ProcessId process = kTarget,
                     int now = 0) {
    return described(agent.on_report(process, report, reason, at(now)));
  }
  void prepare() {
    record(kPlanned);
    report(Report::over);
    report(Report::docked);
    settled(kPrepared);
  }

  TargetAgent agent{Limits{}, at(0)};
};

TEST_F(TargetAgentTest, TakesAGroupIn) {
  EXPECT_EQ(agent.state(), State::fresh);
  EXPECT_EQ(record(kPlanned), "start");
  EXPECT_EQ(agent.state(), State::preparing);
  EXPECT_EQ(report(Report::over), "push in 3 to 7");
  EXPECT_EQ(report(Report::docked), "write PREPARED of 7");
  EXPECT_EQ(settled(kPrepared), "");
  EXPECT_EQ(agent.state(), State::prepared);
  EXPECT_EQ(record(kMoving), "");
  EXPECT_EQ(report(Report::restored), "write commit");
  EXPECT_EQ(agent.state(), State::committing);
  EXPECT_EQ(settled(kCommitted), "push go 4 to 7");
  EXPECT_EQ(report(Report::over), "finished");
}

TEST_F(TargetAgentTest, CommitsWhenTheIntentIsReadAfterTheReport) {
  prepare();
  EXPECT_EQ(report(Report::restored), "") << "the record is not MOVING";
  EXPECT_EQ(record(kMoving), "write commit");
}

TEST_F(TargetAgentTest, GrantsNothingWhenTheCommitLost) {
  prepare();
  record(kMoving);
  report(Report::restored);
  EXPECT_EQ(settled(kAborted), "push drop 4 to 7");
  EXPECT_EQ(report(Report::over), "finished");
}

TEST_F(TargetAgentTest, WritesTheCommitAgainWhenItLostToAChangeThatEndsNothing) {
  prepare();
  record(kMoving);
  report(Report::restored);
  EXPECT_EQ(settled(kMoving), "write commit");
}

TEST_F(TargetAgentTest, AbortsWithoutAProcess) {
  record(kPlanned);
  EXPECT_EQ(described(agent.on_start_failed(at(1))), "write abort (no process could be started)");
  EXPECT_EQ(settled(kAbortedEarly), "finished");
}

TEST_F(TargetAgentTest, AbortsWhatIsNotDockedInTime) {
  record(kPlanned);
  report(Report::over);
  EXPECT_EQ(agent.deadline(), at(30));
  EXPECT_EQ(described(agent.on_time(at(30))), "write abort (the time to prepare is over)");
  EXPECT_EQ(settled(kAbortedEarly), "push drop 3 to 7");
}

TEST_F(TargetAgentTest, DoesNotWaitForTheIntentForEver) {
  record(kPlanned, 20);
  record(kPrepared, 25);
  EXPECT_EQ(agent.deadline(), at(55));
  EXPECT_EQ(described(agent.on_time(at(55))), "write abort (the time to prepare is over)");
}

TEST_F(TargetAgentTest, LimitsTheBlackout) {
  prepare();
  record(kMoving, 20);
  EXPECT_EQ(agent.deadline(), at(30));
  EXPECT_EQ(described(agent.on_time(at(30))), "write abort (the time of the blackout is over)");
}

TEST_F(TargetAgentTest, AbortsWhenTheProcessIsLostOrCannot) {
  prepare();
  EXPECT_EQ(described(agent.on_process_lost(kTarget, at(1))),
            "write abort (the target's process is lost)");
  agent = TargetAgent(Limits{}, at(0));
  prepare();
  EXPECT_EQ(report(Report::cannot, Reason::bad_manifest), "write abort (the state is not whole)");
  agent = TargetAgent(Limits{}, at(0));
  prepare();
  EXPECT_EQ(report(Report::over), "write abort (the target's process is lost)")
      << "it has forgotten the move";
}

TEST_F(TargetAgentTest, AbortsWhenItIsNotTheAgentOfThePlan) {
  prepare();
  record(kMoving);
  EXPECT_EQ(described(agent.on_fenced(at(1))), "write abort (the target's agent is lost)");
  EXPECT_EQ(settled(kCommitted), "push go 4 to 7") << "the former agent's commit was first";
}

TEST_F(TargetAgentTest, AbortsWhenAMemberIsLost) {
  prepare();
  Record torn = kMoving;
  torn.torn = true;
  EXPECT_EQ(record(torn), "write abort (a member is lost)");
}

TEST_F(TargetAgentTest, KeepsOneProcess) {
  record(kPlanned);
  report(Report::over);
  EXPECT_EQ(report(Report::docked, Reason::none, 8), "push drop 3 to 8");
  EXPECT_EQ(report(Report::over, Reason::none, 9), "");
  EXPECT_EQ(report(Report::docked), "write PREPARED of 7");
  EXPECT_EQ(described(agent.on_process_lost(8, at(1))), "");
}

TEST_F(TargetAgentTest, FollowsTheRecordInWhichProcessItIs) {
  record(kPlanned);
  report(Report::over, Reason::none, 8);
  EXPECT_EQ(record(kPrepared), "push drop 3 to 8");
  EXPECT_EQ(agent.process(), kTarget);
  EXPECT_EQ(report(Report::docked), "");
}

TEST_F(TargetAgentTest, GrantsAfterARestart) {
  EXPECT_EQ(report(Report::restored), "") << "no record was read yet";
  EXPECT_EQ(agent.deadline(), kNever);
  EXPECT_EQ(record(kCommitted), "push go 4 to 7");
  EXPECT_EQ(report(Report::restored), "push go 4 to 7") << "it attached again";
  EXPECT_EQ(report(Report::over), "finished");
}

TEST_F(TargetAgentTest, DropsWhenTheMembersAreDead) {
  report(Report::restored);
  EXPECT_EQ(record(kDead), "push drop over to 7");
}

}  // namespace
}  // namespace godwit::migrate
