// Movable as the source of a move: the rows of "Source process" in docs/migration.md, over the real
// driver. The hand is the dock: what it has not taken holds the copy where the test wants it.
#include <gtest/gtest.h>

#include <algorithm>

#include "migrate/movable_fixture.h"

namespace godwit::migrate_tests {
namespace {

class MovableSourceTest : public MovableTest {
 protected:
  ServerPtr a_ = start();
  Hand hand_{agent_.run()};
  Client client_{agent_.run(), 0, {"demo/kv"}};

  ProcessId id() const { return a_->id(); }
  void expect_served() { EXPECT_TRUE(client_.wait_more(3)); }
  /// It is in no move, and lost nothing: it can move for good.
  void expect_movable(Epoch epoch) {
    auto b = start_standby();
    move(99, *a_, *b, epoch);
    EXPECT_TRUE(b->wait_serving(1));
    EXPECT_EQ(b->ledger().loaded_hash, a_->ledger().saved_hash);
    expect_served();
    const std::uint64_t rounds = client_.stop();
    a_->stop();
    b->stop();
    EXPECT_EQ(a_->ledger().wrong.value() + b->ledger().wrong.value(), 0u);
    EXPECT_EQ(b->ledger().last(Operation::add, 0, 0), rounds);
    EXPECT_EQ(b->ledger().last(Operation::note, 0, 0), rounds);
  }
};

TEST_F(MovableSourceTest, CloseWithoutOutIsRefusedAndTheGateStaysOpen) {
  for (int i = 0; i < 2; ++i) {
    agent_.order(id(), 1, Push::close);
    agent_.expect(id(), 1, Report::cannot, Reason::not_in_move);
  }
  expect_served();
  expect_movable(1);
}

TEST_F(MovableSourceTest, OrdersOfAMoveThatItIsNotInAreAnsweredAndChangeNothing) {
  for (const Epoch epoch : {Epoch{1}, Epoch{7}}) {
    for (const Push push : {Push::resume, Push::gone, Push::go, Push::drop}) {
      agent_.order(id(), 5, push, epoch);
      agent_.expect(id(), 5, Report::over);
    }
  }
  agent_.order(id(), 5, Push::in);
  agent_.expect(id(), 5, Report::cannot, Reason::busy);
  expect_served();
  expect_movable(1);
}

TEST_F(MovableSourceTest, OutAgainIsAnsweredByTheState) {
  copy(*a_, 1, 1, hand_.id());
  agent_.expect(id(), 1, Report::copying);
  for (int i = 0; i < 3; ++i) {
    copy(*a_, 1, 1, hand_.id());
    agent_.expect(id(), 1, Report::copying);
  }
  // Another move has to wait.
  copy(*a_, 2, 1, hand_.id());
  agent_.expect(id(), 2, Report::cannot, Reason::busy);
  agent_.order(id(), 2, Push::in);
  agent_.expect(id(), 2, Report::cannot, Reason::busy);
  agent_.order(id(), 2, Push::close);
  agent_.expect(id(), 2, Report::cannot, Reason::not_in_move);
  expect_served();
  EXPECT_EQ(a_->ledger().begun.value(), 1u);

  auto pieces = converge(*a_, hand_, 1);
  copy(*a_, 1, 1, hand_.id());
  agent_.expect(id(), 1, Report::converged);
  agent_.order(id(), 1, Push::close);
  hand_.take(1, std::move(pieces));
  for (const Push push : {Push::out, Push::close}) {
    agent_.order(id(), 1, push, 1);
    agent_.expect(id(), 1, Report::parked);
  }
  agent_.raise({"demo/kv"}, 2);
  agent_.order(id(), 1, Push::resume, 2);
  agent_.expect(id(), 1, Report::over);
  // It is over, and stays so.
  for (const Push push : {Push::out, Push::close}) {
    agent_.order(id(), 1, push, 2);
    agent_.expect(id(), 1, Report::cannot, Reason::not_in_move);
  }
  agent_.order(id(), 1, Push::gone, 2);
  agent_.expect_silence(id());
  expect_movable(2);
}

TEST_F(MovableSourceTest, ResumeWhileItCopiesGivesTheMoveUp) {
  for (MoveId move = 1; move <= 3; ++move) {
    copy(*a_, move, 1, hand_.id());
    agent_.expect(id(), move, Report::copying);
    expect_served();
    agent_.order(id(), move, Push::resume, 1);
    agent_.expect(id(), move, Report::over);
    agent_.order(id(), move, Push::resume, 1);
    agent_.expect(id(), move, Report::over);
    expect_served();
    EXPECT_EQ(a_->ledger().begun.value(), move);
  }
  EXPECT_EQ(a_->ledger().resets.value(), 0u);
  expect_movable(1);
}

TEST_F(MovableSourceTest, ResumeWhenItIsParkedNeedsAHigherEpoch) {
  ASSERT_TRUE(client_.wait_more(1));
  park(*a_, hand_, 1);
  agent_.order(id(), 1, Push::out, 1);
  agent_.expect(id(), 1, Report::parked);
  const std::uint64_t executed = a_->executed.value();
  for (const Push push : {Push::resume, Push::gone}) {
    agent_.order(id(), 1, push, 1);
    agent_.expect_silence(id());
    agent_.order(id(), 1, push, 0);
    agent_.expect_silence(id());
  }
  agent_.order(id(), 1, Push::close);
  agent_.expect(id(), 1, Report::parked);
  EXPECT_EQ(a_->executed.value(), executed);

  agent_.raise({"demo/kv"}, 4);
  agent_.order(id(), 1, Push::resume, 4);
  const MoveReport over = agent_.expect(id(), 1, Report::over);
  EXPECT_GT(over.times().blackout_us(), 0u);
  expect_served();
  agent_.order(id(), 1, Push::resume, 2);  // late
  agent_.expect_silence(id());
  agent_.order(id(), 1, Push::resume, 4);
  agent_.expect(id(), 1, Report::over);
  expect_served();
  EXPECT_EQ(a_->arrivals.value(), 1u);
  EXPECT_EQ(a_->ledger().resets.value(), 0u);
  expect_movable(4);
}

// The epoch at the plan is news to a process that was not told how its last move ended.
TEST_F(MovableSourceTest, OutRaisesTheEpoch) {
  ASSERT_TRUE(client_.wait_more(1));
  agent_.raise({"demo/kv"}, 5);
  copy(*a_, 1, 5, hand_.id());
  agent_.expect(id(), 1, Report::copying);
  expect_served();
  agent_.order(id(), 1, Push::resume, 4);
  agent_.expect_silence(id());
  agent_.order(id(), 1, Push::resume, 5);
  agent_.expect(id(), 1, Report::over);
  expect_served();
  expect_movable(5);
}

TEST_F(MovableSourceTest, WhatHasLeftStandsByAndComesBack) {
  auto b = start_standby();
  ASSERT_TRUE(client_.wait_more(3));
  move(1, *a_, *b, 1);
  EXPECT_TRUE(a_->left.wait(1));
  EXPECT_TRUE(a_->ledger().resets.wait(1));
  const StandBy again = agent_.next_stand_by(id());
  EXPECT_EQ(again.program(), "kv");
  EXPECT_FALSE(again.withdraw());
  // Late orders of the move that it has left by, and of one that it never heard of.
  for (const Push push : {Push::gone, Push::resume}) {
    agent_.order(id(), 1, push, 2);
    agent_.expect(id(), 1, Report::over);
    agent_.order(id(), 7, push, 2);
    agent_.expect(id(), 7, Report::over);
  }
  for (const MoveId id_of_move : {MoveId{1}, MoveId{7}}) {
    for (const Push push : {Push::out, Push::close}) {
      agent_.order(id(), id_of_move, push, 2);
      agent_.expect(id(), id_of_move, Report::cannot, Reason::not_in_move);
    }
  }
  expect_served();

  move(2, *b, *a_, 2);
  EXPECT_TRUE(a_->wait_serving(2));
  expect_served();
  // Now late orders of the move that it had left by must not make it leave again,
  for (const Push push : {Push::gone, Push::resume}) {
    agent_.order(id(), 1, push, 2);
    agent_.expect(id(), 1, Report::over);
  }
  expect_served();
  // nor make the other serve that it had come by.
  EXPECT_TRUE(b->left.wait(1));
  agent_.next_stand_by(b->id());
  agent_.order(b->id(), 1, Push::go, 2);
  agent_.expect(b->id(), 1, Report::over);
  agent_.order(b->id(), 1, Push::drop, 2);
  agent_.expect(b->id(), 1, Report::over);
  agent_.order(b->id(), 2, Push::gone, 3);
  agent_.expect(b->id(), 2, Report::over);
  EXPECT_EQ(b->arrivals.value(), 1u);

  move(3, *a_, *b, 3);
  EXPECT_TRUE(b->wait_serving(2));
  expect_served();
  EXPECT_EQ(a_->left.value(), 2u);
  const std::uint64_t rounds = client_.stop();
  b->stop();
  EXPECT_EQ(b->ledger().last(Operation::add, 0, 0), rounds);
  EXPECT_EQ(a_->ledger().wrong.value() + b->ledger().wrong.value(), 0u);
}

// A request that was taken and is not answered: the gate stays shut until it is opened again.
TEST_F(MovableSourceTest, WhatIsNotQuietIsNotMoved) {
  auto slow = start({.names = {"demo/slow"}, .limits = {.quiet = 50ms}});
  const ProcessId process = slow->id();
  const auto ask = [&](Hand& hand, auto done) {
    const Operation hold{Operation::hold, 0, 0};
    auto to = hand.endpoint().lookup("demo/slow", kLong);
    ASSERT_TRUE(to);
    ASSERT_TRUE(hand.endpoint().call_async(*to, std::as_bytes(std::span(&hold, 1)), done, kLong));
    hand.process().flush();
  };
  Hand asker(agent_.run());
  std::optional<std::string> answer;
  ask(asker, [&](Result<Message> reply) {
    answer = reply ? std::string(reply->text()) : reply.error().to_string();
  });
  ASSERT_TRUE(asker.process().run_until([&] { return slow->held.value() == 1; }, kLong));
  converge(*slow, hand_, 1);
  agent_.order(process, 1, Push::close);
  const MoveReport cannot = agent_.expect(process, 1, Report::cannot, Reason::not_quiet);
  EXPECT_NE(cannot.text().find("1 requests not answered"), std::string::npos) << cannot.text();
  // Shut: a second request waits. The first may be answered, and its caller hears of it later.
  std::optional<std::string> second;
  ask(asker, [&](Result<Message> reply) {
    second = reply ? std::string(reply->text()) : reply.error().to_string();
  });
  slow->release();
  agent_.order(process, 1, Push::close);
  agent_.expect(process, 1, Report::cannot, Reason::not_quiet);
  EXPECT_EQ(slow->held.value(), 1u);
  agent_.raise({"demo/slow"}, 2);
  agent_.order(process, 1, Push::resume, 2);
  agent_.expect(process, 1, Report::over);
  ASSERT_TRUE(asker.process().run_until([&] { return slow->held.value() == 2; }, kLong));
  slow->release();
  ASSERT_TRUE(asker.process().run_until([&] { return answer && second; }, kLong));
  EXPECT_EQ(*answer, "late");
  EXPECT_EQ(*second, "late");
}

TEST_F(MovableSourceTest, TheIntentGoesAheadOfTheRest) {
  const Hand::Pieces pieces = park(*a_, hand_, 1);
  const auto has_intent = [](const std::string& piece) {
    return piece.find(intent_of(1)) != std::string::npos;
  };
  EXPECT_EQ(std::count_if(pieces.begin(), pieces.end(), has_intent), 1);
  // With the rest it would come when the clients wait already.
  EXPECT_FALSE(has_intent(pieces.back()));
  agent_.raise({"demo/kv"}, 2);
  agent_.order(id(), 1, Push::resume, 2);
  agent_.expect(id(), 1, Report::over);
  expect_served();
}

}  // namespace
}  // namespace godwit::migrate_tests
