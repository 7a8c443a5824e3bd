// Movable as the target of a move: the rows of "Target process" in docs/migration.md, over the real
// driver. The hand is the source: it sends what a real one has sent to it, when the test wants.
#include <gtest/gtest.h>

#include "migrate/movable_fixture.h"

namespace godwit::migrate_tests {
namespace {

constexpr MoveId kMove = 1;

class MovableTargetTest : public MovableTest {
 protected:
  void SetUp() override {
    state_ = park(*a_, hand_, kMove);
    ASSERT_FALSE(state_.empty());
    b_ = start_standby();
  }
  ProcessId id() const { return b_->id(); }
  MoveReport restored() {
    hand_.send(dock(*b_, kMove), state_);
    return agent_.expect(id(), kMove, Report::restored);
  }
  /// It holds nothing, and can be the target of any move.
  void expect_standing_by(std::uint64_t resets) {
    const StandBy again = agent_.next_stand_by(id());
    EXPECT_FALSE(again.withdraw());
    EXPECT_EQ(again.move(), 0u);
    EXPECT_EQ(b_->ledger().resets.value(), resets);
    EXPECT_EQ(b_->arrivals.value(), 0u);
    // The source was never told: it is parked, and goes on where it was.
    agent_.raise({"demo/kv"}, 2);
    agent_.order(a_->id(), kMove, Push::resume, 2);
    agent_.expect(a_->id(), kMove, Report::over);
    move(99, *a_, *b_, 2);
    EXPECT_TRUE(b_->wait_serving(1));
    EXPECT_EQ(agent_.foreign_unbinds(), 0u);
    Client client(agent_.run(), 0, {"demo/kv"});
    EXPECT_TRUE(client.wait_more(3));
  }

  ServerPtr a_ = start();
  Hand hand_{agent_.run()};
  Hand::Pieces state_;
  ServerPtr b_;
};

TEST_F(MovableTargetTest, OrdersOfNoMoveAreAnswered) {
  for (const Push push : {Push::go, Push::drop, Push::resume, Push::gone}) {
    agent_.order(id(), 5, push, 9);
    agent_.expect(id(), 5, Report::over);
  }
  for (const Push push : {Push::out, Push::close}) {
    agent_.order(id(), 5, push, 9);
    agent_.expect(id(), 5, Report::cannot, Reason::not_in_move);
  }
  EXPECT_EQ(agent_.stand_bys_left(id()), 0u);
  EXPECT_EQ(b_->ledger().resets.value(), 0u);
}

TEST_F(MovableTargetTest, InAgainIsAnsweredByTheDockAndAnotherMoveHasToWait) {
  const EndpointId first = dock(*b_, kMove);
  EXPECT_EQ(dock(*b_, kMove), first);
  agent_.order(id(), 2, Push::in);
  agent_.expect(id(), 2, Report::cannot, Reason::busy);
  for (const Push push : {Push::go, Push::drop}) {
    agent_.order(id(), 2, push, 9);
    agent_.expect(id(), 2, Report::over);
  }
  agent_.order(id(), 2, Push::out, 1, hand_.id());
  agent_.expect(id(), 2, Report::cannot, Reason::not_in_move);
  // Not restored, it cannot serve.
  agent_.order(id(), kMove, Push::go, 2);
  EXPECT_EQ(dock_of(agent_.expect(id(), kMove, Report::docked)), first);
  EXPECT_EQ(agent_.stand_bys_left(id()), 0u);

  hand_.send(first, state_);
  agent_.expect(id(), kMove, Report::restored);
  agent_.order(id(), kMove, Push::in);
  EXPECT_EQ(agent_.expect(id(), kMove, Report::restored).engine_addresses_size(), 1);
  agent_.order(id(), 2, Push::in);
  agent_.expect(id(), 2, Report::cannot, Reason::busy);
}

TEST_F(MovableTargetTest, DropBeforeTheStateIsWholeForgetsIt) {
  Hand::Pieces some = state_;
  // All but the last bytes of it: the end of the manifest.
  some.back().resize(some.back().size() - 1);
  const EndpointId docked = dock(*b_, kMove);
  hand_.send(docked, some);
  agent_.order(id(), kMove, Push::drop, 0);
  agent_.expect(id(), kMove, Report::over);
  EXPECT_TRUE(agent_.wait_unbound(docked));
  agent_.order(id(), kMove, Push::drop, 0);
  agent_.expect(id(), kMove, Report::over);
  agent_.order(id(), kMove, Push::go, 2);
  agent_.expect(id(), kMove, Report::over);
  agent_.order(id(), kMove, Push::in);
  agent_.expect(id(), kMove, Report::cannot, Reason::not_in_move);
  expect_standing_by(1);
}

TEST_F(MovableTargetTest, WhatIsRestoredIsForgottenAtAHigherEpochOnly) {
  restored();
  for (const Epoch epoch : {Epoch{0}, Epoch{1}}) {
    agent_.order(id(), kMove, Push::drop, epoch);
    agent_.expect_silence(id());
  }
  EXPECT_EQ(b_->ledger().resets.value(), 0u);
  agent_.order(id(), kMove, Push::drop, 2);
  agent_.expect(id(), kMove, Report::over);
  expect_standing_by(1);
}

TEST_F(MovableTargetTest, WhatIsRestoredServesAtAHigherEpochOnly) {
  const MoveReport ready = restored();
  for (const Epoch epoch : {Epoch{0}, Epoch{1}, migrate::kOver}) {
    agent_.order(id(), kMove, Push::go, epoch);
    agent_.expect_silence(id());
  }
  EXPECT_EQ(b_->arrivals.value(), 0u);
  agent_.commit({"demo/kv"}, id(), 2, ready);
  for (int i = 0; i < 2; ++i) {
    agent_.order(id(), kMove, Push::go, 2);
    agent_.expect(id(), kMove, Report::over);
  }
  ASSERT_TRUE(b_->wait_serving(1));
  // A late drop is too late.
  agent_.order(id(), kMove, Push::drop, 3);
  agent_.expect(id(), kMove, Report::over);
  agent_.order(id(), kMove, Push::in);
  agent_.expect(id(), kMove, Report::cannot, Reason::not_in_move);
  EXPECT_EQ(b_->ledger().resets.value(), 0u);
  Client client(agent_.run(), 0, {"demo/kv"});
  EXPECT_TRUE(client.wait_more(3));
  client.stop();
  EXPECT_EQ(agent_.stand_bys_left(id()), 0u);
}

// Only whoever has the grant may say that the endpoints have ended.
TEST_F(MovableTargetTest, AProcessThatEndsWithARestoredStateDoesNotUnbindIt) {
  restored();
  b_.reset();
  EXPECT_EQ(agent_.foreign_unbinds(), 0u);
  EXPECT_EQ(agent_.place("demo/kv").process, a_->id());
  agent_.raise({"demo/kv"}, 2);
  agent_.order(a_->id(), kMove, Push::resume, 2);
  agent_.expect(a_->id(), kMove, Report::over);
  Client client(agent_.run(), 0, {"demo/kv"});
  EXPECT_TRUE(client.wait_more(3));
}

// The process that an agent has started for a move says so, also when the move was given up: an
// agent that has not started it itself knows from that that it is to be ended.
TEST_F(MovableTargetTest, AProcessThatWasStartedForAMoveSaysWhichOne) {
  ::setenv("GODWIT_MOVE", "00000000000000ab", 1);
  Server started(agent_.run(), {});
  EXPECT_EQ(std::getenv("GODWIT_MOVE"), nullptr);
  const StandBy here = agent_.next_stand_by(started.id());
  EXPECT_EQ(here.move(), 0xabu);
  EXPECT_FALSE(here.withdraw());
  EXPECT_TRUE(dock(started, 0xab));
  agent_.order(started.id(), 0xab, Push::drop);
  agent_.expect(started.id(), 0xab, Report::over);
  EXPECT_EQ(agent_.next_stand_by(started.id()).move(), 0xabu);
}

}  // namespace
}  // namespace godwit::migrate_tests
