#include "godwit/migrate/target_process.h"

#include <gtest/gtest.h>

#include "described.h"

namespace godwit::migrate {
namespace {

using State = TargetProcess::State;

class TargetProcessTest : public testing::Test {
 protected:
  std::string push(Push push, Epoch epoch = 3) { return described(process.on_push(push, epoch)); }
  void dock() {
    push(Push::in);
    process.on_docked();
  }
  void restore() {
    dock();
    process.on_manifest(true, 3);
  }

  TargetProcess process;
};

TEST_F(TargetProcessTest, TakesAGroupIn) {
  EXPECT_EQ(push(Push::in), "bind dock");
  EXPECT_EQ(process.report(), Report::binding);
  EXPECT_EQ(described(process.on_docked()), "report docked");
  EXPECT_EQ(described(process.on_manifest(true, 3)), "install; report restored");
  EXPECT_EQ(process.state(), State::restored);
  EXPECT_EQ(push(Push::go, 4), "open gate 4; report over");
  EXPECT_EQ(process.state(), State::serving);
}

TEST_F(TargetProcessTest, AnswersARepeatedPushWithItsState) {
  dock();
  EXPECT_EQ(push(Push::in), "report docked");
  EXPECT_EQ(described(process.on_docked()), "");
  process.on_manifest(true, 3);
  EXPECT_EQ(push(Push::in), "report restored");
  push(Push::go, 4);
  EXPECT_EQ(push(Push::go, 4), "report over");
  EXPECT_EQ(push(Push::drop, 5), "report over") << "it serves";
  EXPECT_EQ(process.state(), State::serving);
}

TEST_F(TargetProcessTest, OpensNoGateWithoutAWholeState) {
  dock();
  EXPECT_EQ(push(Push::go, 4), "report docked");
  EXPECT_EQ(described(process.on_manifest(false, 3)),
            "forget; report cannot (the state is not whole)");
  EXPECT_EQ(push(Push::go, 4), "report cannot (the state is not whole)");
  EXPECT_EQ(push(Push::drop), "report over");
  EXPECT_TRUE(process.over());
}

TEST_F(TargetProcessTest, OpensItsGateAtAHigherEpochAlone) {
  restore();
  EXPECT_EQ(push(Push::go, 3), "");
  EXPECT_EQ(push(Push::go, kOver), "");
  EXPECT_EQ(process.state(), State::restored);
}

TEST_F(TargetProcessTest, ForgetsARestoredStateAtAHigherEpochAlone) {
  restore();
  EXPECT_EQ(push(Push::drop, 3), "") << "it may be the only copy";
  EXPECT_EQ(process.state(), State::restored);
  EXPECT_EQ(push(Push::drop, 4), "forget; report over");
  EXPECT_EQ(push(Push::go, 4), "report over") << "never after it was dropped";
  EXPECT_EQ(process.state(), State::dropped);
}

TEST_F(TargetProcessTest, ForgetsARestoredStateOfTheDead) {
  restore();
  EXPECT_EQ(push(Push::drop, kOver), "forget; report over");
}

TEST_F(TargetProcessTest, IsDroppedAtAnyEpochBeforeItIsRestored) {
  dock();
  EXPECT_EQ(push(Push::drop, 3), "forget; report over");
  EXPECT_EQ(push(Push::in), "report cannot (the process is not in this move)");
}

TEST_F(TargetProcessTest, CannotWithoutADockOrAWay) {
  push(Push::in);
  EXPECT_EQ(described(process.on_failed(Reason::start_failed)),
            "forget; report cannot (no process could be started)");
  EXPECT_EQ(process.report(), Report::cannot) << "as it says to the next agent";
  process = TargetProcess();
  dock();
  EXPECT_EQ(described(process.on_failed(Reason::load_failed)),
            "forget; report cannot (the state was refused)");
}

TEST_F(TargetProcessTest, NeedsNoSourceOnceItIsRestored) {
  restore();
  EXPECT_EQ(described(process.on_failed(Reason::transfer_failed)), "");
  EXPECT_EQ(push(Push::go, 4), "open gate 4; report over");
}

}  // namespace
}  // namespace godwit::migrate
