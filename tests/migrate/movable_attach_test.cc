// Movable when its agent restarts: it says by itself where it is, and what it holds.
#include <gtest/gtest.h>

#include "migrate/movable_fixture.h"

namespace godwit::migrate_tests {
namespace {

class MovableAttachTest : public MovableTest {
 protected:
  void restart_agent(const std::vector<ProcessId>& processes) {
    agent_.go_down();
    agent_.come_up();
    for (const ProcessId process : processes) ASSERT_TRUE(agent_.wait_attached(process));
  }
  /// The epochs at which a process has claimed the endpoint; docks may come and go beside it.
  std::vector<Epoch> claimed(ProcessId process) {
    std::vector<Epoch> epochs;
    for (const EndpointPlace& claim : agent_.claims(process)) {
      if (claim.name == "demo/kv") epochs.push_back(claim.epoch);
    }
    return epochs;
  }
};

TEST_F(MovableAttachTest, TheSourceSaysWhereItIs) {
  auto a = start();
  const ProcessId id = a->id();
  Hand hand(agent_.run());
  Client client(agent_.run(), 0, {"demo/kv"});
  ASSERT_TRUE(client.wait_more(3));
  restart_agent({id});  // in no move there is nothing to say
  agent_.expect_silence(id);

  copy(*a, 1, 1, hand.id());
  agent_.expect(id, 1, Report::copying);
  restart_agent({id});
  agent_.expect(id, 1, Report::copying);

  std::stop_source converged;
  std::jthread listener([&] {
    agent_.expect(id, 1, Report::converged);
    converged.request_stop();
  });
  auto pieces = hand.take(converged.get_token());
  listener.join();
  restart_agent({id});
  EXPECT_EQ(agent_.expect(id, 1, Report::converged).progress().rounds(), 1u);
  EXPECT_TRUE(client.wait_more(3));

  agent_.order(id, 1, Push::close);
  hand.take(1, std::move(pieces));
  agent_.order(id, 1, Push::close);
  agent_.expect(id, 1, Report::parked);
  restart_agent({id});
  agent_.expect(id, 1, Report::parked);

  agent_.raise({"demo/kv"}, 2);
  agent_.order(id, 1, Push::resume, 2);
  agent_.expect(id, 1, Report::over);
  EXPECT_TRUE(client.wait_more(3));
  restart_agent({id});
  agent_.expect_silence(id);
  // The endpoint is as its record has it.
  EXPECT_EQ(claimed(id), std::vector<Epoch>{2});
  EXPECT_TRUE(client.wait_more(3));
}

TEST_F(MovableAttachTest, ASourceThatCannotSaysSoAgain) {
  auto a = start();
  a->ledger().fault = Ledger::Fault::save;
  Hand hand(agent_.run());
  // Nothing listens to the first report.
  copy(*a, 1, 1, {1, 4711, 1});
  agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  restart_agent({a->id()});
  const MoveReport again = agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  EXPECT_FALSE(again.text().empty());
  agent_.order(a->id(), 1, Push::resume, 1);
  agent_.expect(a->id(), 1, Report::over);
}

TEST_F(MovableAttachTest, TheTargetSaysWhereItIs) {
  auto a = start();
  auto b = start_standby();
  const ProcessId id = b->id();
  restart_agent({a->id(), id});
  EXPECT_EQ(agent_.next_stand_by(id).program(), "kv");

  const EndpointId docked = dock(*b, 1);
  restart_agent({a->id(), id});
  EXPECT_EQ(dock_of(agent_.expect(id, 1, Report::docked)), docked);
  EXPECT_EQ(agent_.stand_bys_left(id), 0u);

  copy(*a, 1, 1, docked);
  agent_.expect(a->id(), 1, Report::converged);
  restore(*a, *b, 1);
  restart_agent({a->id(), id});
  agent_.expect(a->id(), 1, Report::parked);
  const MoveReport restored = agent_.expect(id, 1, Report::restored);
  EXPECT_EQ(restored.engine_addresses_size(), 1);
  // It does not claim what it has not been granted.
  EXPECT_TRUE(claimed(id).empty());

  agent_.commit({"demo/kv"}, id, 2, restored);
  agent_.order(id, 1, Push::go, 2);
  agent_.expect(id, 1, Report::over);
  agent_.order(a->id(), 1, Push::gone, 2);
  agent_.expect(a->id(), 1, Report::over);
  agent_.next_stand_by(a->id());
  EXPECT_TRUE(b->wait_serving(1));
  restart_agent({a->id(), id});
  agent_.next_stand_by(a->id());
  agent_.expect_silence(a->id());
  agent_.expect_silence(id);
  EXPECT_TRUE(claimed(a->id()).empty());
  EXPECT_EQ(claimed(id), std::vector<Epoch>{2});
  Client client(agent_.run(), 0, {"demo/kv"});
  EXPECT_TRUE(client.wait_more(3));
}

TEST_F(MovableAttachTest, ATargetThatHasFailedSaysSoUntilItIsDropped) {
  auto b = start_standby();
  Hand hand(agent_.run());
  hand.send(dock(*b, 1), {"nonsense"}, [&] { return agent_.has_report(b->id()); });
  agent_.expect(b->id(), 1, Report::cannot, Reason::bad_manifest);
  restart_agent({b->id()});
  EXPECT_FALSE(agent_.expect(b->id(), 1, Report::cannot, Reason::bad_manifest).text().empty());
  EXPECT_EQ(agent_.stand_bys_left(b->id()), 0u);
  agent_.order(b->id(), 1, Push::drop);
  agent_.expect(b->id(), 1, Report::over);
  agent_.next_stand_by(b->id());
  restart_agent({b->id()});
  agent_.next_stand_by(b->id());
  agent_.expect_silence(b->id());
}

// What was ordered while nobody was attached is for the next agent to order again.
TEST_F(MovableAttachTest, AProcessServesAndStaysParkedWithoutAnAgent) {
  auto a = start();
  auto b = start_standby();
  Client client(agent_.run(), 0, {"demo/kv"});
  ASSERT_TRUE(client.wait_more(3));
  agent_.go_down();
  EXPECT_TRUE(client.wait_more(20));
  agent_.come_up();
  ASSERT_TRUE(agent_.wait_attached(a->id()) && agent_.wait_attached(b->id()));
  agent_.next_stand_by(b->id());
  move(1, *a, *b, 1);
  EXPECT_TRUE(b->wait_serving(1));
  EXPECT_TRUE(client.wait_more(3));
}

}  // namespace
}  // namespace godwit::migrate_tests
