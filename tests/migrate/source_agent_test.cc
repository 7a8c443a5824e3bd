#include "godwit/migrate/source_agent.h"

#include <gtest/gtest.h>

#include "described.h"

namespace godwit::migrate {
namespace {

using State = SourceAgent::State;

class SourceAgentTest : public testing::Test {
 protected:
  std::string record(const Record& record, int now = 0) {
    return described(agent.on_record(record, at(now)));
  }
  std::string settled(const Record& record, int now = 0) {
    return described(agent.on_settled(record, at(now)));
  }
  std::string report(Report report, Reason reason = Reason::none, int now = 0) {
    return described(agent.on_report(report, reason, at(now)));
  }

  SourceAgent agent{kSource, Limits{}, at(0)};
};

TEST_F(SourceAgentTest, MovesAGroupAway) {
  EXPECT_EQ(record(kPlanned), "");
  EXPECT_EQ(agent.state(), State::waiting);
  EXPECT_EQ(record(kPrepared), "push out 3 to 5");
  EXPECT_EQ(agent.state(), State::copying);
  EXPECT_EQ(report(Report::converged), "write intent");
  EXPECT_EQ(agent.state(), State::intending);
  EXPECT_EQ(settled(kMoving), "push close 3 to 5");
  EXPECT_EQ(agent.state(), State::closing);
  EXPECT_EQ(record(kCommitted), "push gone 4 to 5");
  EXPECT_EQ(agent.state(), State::ended);
  EXPECT_EQ(report(Report::over), "finished");
}

TEST_F(SourceAgentTest, SaysNothingTwiceWhileNothingChanges) {
  record(kPrepared);
  EXPECT_EQ(record(kPrepared), "");
  EXPECT_EQ(report(Report::copying), "");
  report(Report::converged);
  EXPECT_EQ(report(Report::converged), "") << "the intent is under way";
  settled(kMoving);
  EXPECT_EQ(record(kMoving), "");
  EXPECT_EQ(report(Report::parked), "");
}

TEST_F(SourceAgentTest, TellsAgainAProcessThatAttachesAgain) {
  record(kPrepared);
  EXPECT_EQ(report(Report::over), "push out 3 to 5");
  record(kMoving);
  EXPECT_EQ(report(Report::converged), "push close 3 to 5");
  EXPECT_EQ(report(Report::closing), "");
  record(kAborted);
  EXPECT_EQ(report(Report::parked), "push resume 4 to 5");
}

TEST_F(SourceAgentTest, LooksAtTheRecordWhenItLostTheRace) {
  record(kPrepared);
  report(Report::converged);
  EXPECT_EQ(settled(kAbortedEarly), "push resume 3 to 5");
}

TEST_F(SourceAgentTest, WritesAgainWhenItLostToAChangeThatEndsNothing) {
  record(kPrepared);
  report(Report::converged);
  EXPECT_EQ(settled(kPrepared), "write intent");
}

TEST_F(SourceAgentTest, AbortsWhatIsNotPreparedInTime) {
  record(kPlanned);
  EXPECT_EQ(agent.deadline(), at(30));
  EXPECT_EQ(described(agent.on_time(at(29))), "");
  EXPECT_EQ(described(agent.on_time(at(30))), "write abort (the time to prepare is over)");
  EXPECT_EQ(agent.state(), State::ending);
  EXPECT_EQ(agent.deadline(), kNever);
  EXPECT_EQ(settled(kAbortedEarly), "push resume 3 to 5");
}

TEST_F(SourceAgentTest, GivesTheBlackoutItsOwnTime) {
  record(kPrepared);
  report(Report::converged, Reason::none, 25);
  settled(kMoving, 29);
  EXPECT_EQ(agent.deadline(), at(39));
  EXPECT_EQ(described(agent.on_time(at(39))), "write abort (the time of the blackout is over)");
  EXPECT_EQ(settled(kAborted, 40), "push resume 4 to 5");
}

TEST_F(SourceAgentTest, AbortsWhenTheTargetIsLost) {
  record(kPrepared);
  EXPECT_EQ(described(agent.on_target_lost(at(1))), "write abort (the target's agent is lost)");
}

TEST_F(SourceAgentTest, AbortsWhenTheProcessCannot) {
  record(kMoving);
  EXPECT_EQ(report(Report::cannot, Reason::not_quiet), "write abort (a request does not end)");
}

TEST_F(SourceAgentTest, AbortsWhenAMemberIsLost) {
  Record torn = kMoving;
  torn.torn = true;
  EXPECT_EQ(record(torn), "write abort (a member is lost)");
}

TEST_F(SourceAgentTest, AbortsAMoveThatTheProcessDoesNotKnowAfterTheIntent) {
  record(kMoving);
  EXPECT_EQ(report(Report::over), "write abort (the process is not in this move)");
}

TEST_F(SourceAgentTest, NeverResumesBeforeTheRecordSaysSo) {
  record(kMoving);
  described(agent.on_time(at(100)));
  EXPECT_EQ(record(kMoving, 101), "");
  EXPECT_EQ(report(Report::parked, Reason::none, 102), "");
  EXPECT_EQ(settled(kCommitted, 103), "push gone 4 to 5") << "the commit was first";
}

TEST_F(SourceAgentTest, WaitsForTheEndWhenItsProcessIsLost) {
  record(kMoving);
  EXPECT_EQ(described(agent.on_process_lost(at(1))), "");
  EXPECT_EQ(record(kDead), "finished");
}

TEST_F(SourceAgentTest, SaysGoneWhenTheMembersAreDead) {
  record(kPrepared);
  EXPECT_EQ(record(kDead), "push gone over to 5");
}

TEST_F(SourceAgentTest, ResumesOnceMoreAProcessThatWasOverBefore) {
  record(kPrepared);
  report(Report::over);
  // It may be over at the old epoch: its answer counts when it has heard the new one.
  EXPECT_EQ(record(kAborted), "push resume 4 to 5");
  EXPECT_EQ(report(Report::over), "finished");
}

TEST_F(SourceAgentTest, GoesOnAfterARestartFromTheRecordAndTheProcess) {
  EXPECT_EQ(report(Report::parked), "") << "no record was read yet";
  EXPECT_EQ(agent.deadline(), kNever);
  EXPECT_EQ(record(kMoving), "");
  EXPECT_EQ(record(kAborted), "push resume 4 to 5");
}

}  // namespace
}  // namespace godwit::migrate
