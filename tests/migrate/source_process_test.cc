#include "godwit/migrate/source_process.h"

#include <gtest/gtest.h>

#include "described.h"

namespace godwit::migrate {
namespace {

using State = SourceProcess::State;

class SourceProcessTest : public testing::Test {
 protected:
  std::string push(Push push, Epoch epoch = 3, int now = 0) {
    return described(process.on_push(push, epoch, at(now)));
  }
  std::string quiet() { return described(process.on_quiet()); }
  std::string sent() { return described(process.on_sent()); }
  void converge() {
    push(Push::out);
    process.on_round(true);
  }
  void park() {
    converge();
    push(Push::close);
    quiet();
    sent();
  }

  SourceProcess process{3, Limits{}};
};

TEST_F(SourceProcessTest, MovesAGroupAway) {
  EXPECT_EQ(push(Push::out), "copy");
  EXPECT_EQ(process.state(), State::copying);
  EXPECT_EQ(described(process.on_round(false)), "copy");
  EXPECT_EQ(described(process.on_round(true)), "report converged; copy");
  EXPECT_EQ(process.state(), State::converged);
  EXPECT_EQ(described(process.on_round(true)), "copy") << "what changes until the close";
  EXPECT_EQ(push(Push::close), "shut gate");
  EXPECT_EQ(process.state(), State::closing);
  EXPECT_EQ(quiet(), "send rest");
  EXPECT_EQ(sent(), "park");
  EXPECT_EQ(process.state(), State::parked);
  EXPECT_EQ(push(Push::gone, 4), "stop copy; leave; report over");
  EXPECT_EQ(process.state(), State::left);
}

TEST_F(SourceProcessTest, ConvergesWhenTheRoundsAreUsedUp) {
  push(Push::out);
  for (std::uint32_t round = 1; round < Limits{}.rounds; ++round) {
    EXPECT_EQ(described(process.on_round(false)), "copy");
  }
  EXPECT_EQ(described(process.on_round(false)), "report converged; copy");
}

TEST_F(SourceProcessTest, AnswersARepeatedPushWithItsState) {
  converge();
  EXPECT_EQ(push(Push::out), "report converged");
  push(Push::close);
  EXPECT_EQ(push(Push::close), "report closing");
  quiet();
  EXPECT_EQ(quiet(), "") << "the rest is being sent";
  sent();
  EXPECT_EQ(push(Push::close), "report parked");
  EXPECT_EQ(sent(), "");
}

TEST_F(SourceProcessTest, StaysShutWhenARequestDoesNotEnd) {
  converge();
  push(Push::close, 3, 10);
  EXPECT_EQ(process.deadline(), at(12));
  EXPECT_EQ(described(process.on_time(at(11))), "");
  EXPECT_EQ(described(process.on_time(at(12))), "park; report cannot (a request does not end)");
  EXPECT_EQ(process.state(), State::parked);
  EXPECT_EQ(process.deadline(), kNever);
  EXPECT_EQ(quiet(), "") << "the request ended too late";
  EXPECT_EQ(process.report(), Report::cannot) << "as it says to the next agent";
}

TEST_F(SourceProcessTest, ResumesAtAHigherEpoch) {
  park();
  EXPECT_EQ(push(Push::resume, 4), "stop copy; open gate 4; report over");
  EXPECT_EQ(process.state(), State::serving);
  EXPECT_EQ(process.epoch(), 4u);
  EXPECT_EQ(push(Push::resume, 4), "report over");
}

TEST_F(SourceProcessTest, OpensAGateThatItHasShutAtNoOldEpoch) {
  park();
  EXPECT_EQ(push(Push::resume, 3), "") << "a reading from before the intent";
  EXPECT_EQ(push(Push::gone, 3), "");
  EXPECT_EQ(push(Push::resume, kOver), "");
  EXPECT_EQ(process.state(), State::parked);
}

TEST_F(SourceProcessTest, StopsCopyingWhenTheMoveIsAborted) {
  converge();
  EXPECT_EQ(push(Push::resume, 3), "stop copy; report over");
  EXPECT_EQ(process.state(), State::serving);
}

TEST_F(SourceProcessTest, RaisesTheEpochOfAnOpenGateAfterAnAbortedIntent) {
  converge();
  EXPECT_EQ(push(Push::resume, 4), "stop copy; open gate 4; report over");
}

TEST_F(SourceProcessTest, RaisesTheEpochThoughItIsOver) {
  converge();
  push(Push::resume, 3);
  EXPECT_EQ(push(Push::resume, 4), "open gate 4; report over");
}

TEST_F(SourceProcessTest, LearnsItsEpochFromThePlanOfTheNextMove) {
  EXPECT_EQ(push(Push::out, 4), "open gate 4; copy");
}

TEST_F(SourceProcessTest, IgnoresTheMoveOnceItIsOver) {
  converge();
  push(Push::resume, 3);
  EXPECT_EQ(push(Push::out), "report cannot (the process is not in this move)");
  EXPECT_EQ(push(Push::close), "report cannot (the process is not in this move)");
  EXPECT_EQ(process.state(), State::serving);
  EXPECT_EQ(described(process.on_round(true)), "");
  EXPECT_EQ(described(process.on_failed(Reason::transfer_failed)), "");
}

TEST_F(SourceProcessTest, KeepsItsGateOpenWithoutADock) {
  EXPECT_EQ(push(Push::close), "report cannot (the process is not in this move)");
  EXPECT_EQ(process.state(), State::serving);
  converge();
  EXPECT_EQ(described(process.on_failed(Reason::transfer_failed)),
            "report cannot (the transfer failed)");
  EXPECT_EQ(push(Push::close), "report cannot (the transfer failed)");
  EXPECT_EQ(process.state(), State::converged);
}

TEST_F(SourceProcessTest, StaysShutWhenTheTransferFailsWhileItCloses) {
  converge();
  push(Push::close);
  EXPECT_EQ(described(process.on_failed(Reason::transfer_failed)),
            "park; report cannot (the transfer failed)");
  EXPECT_EQ(push(Push::resume, 4), "stop copy; open gate 4; report over");
}

TEST_F(SourceProcessTest, LeavesWhateverItDoesWhenTheMembersAreDead) {
  EXPECT_EQ(push(Push::gone, kOver), "leave; report over");
  EXPECT_EQ(push(Push::gone, kOver), "report over");
  EXPECT_EQ(push(Push::resume, 4), "report over") << "it has left";
}

}  // namespace
}  // namespace godwit::migrate
