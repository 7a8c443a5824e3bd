// Agents that are killed at each state of a move, and come back or do not.
#include <signal.h>

#include "node/move_fixture.h"

namespace godwit::node_tests {
namespace {

class MoverRestartTest : public TwoNodesTest {
 protected:
  void restart(AgentProcess& agent) {
    agent.kill();
    ASSERT_TRUE(agent.launch()) << agent.log();
  }
  /// The same, and until it has buried what no process came back for: that of one that stands
  /// still.
  void restart_past_the_grace(AgentProcess& agent) {
    const auto still = start_server(agent, {"still"});
    ASSERT_EQ(::kill(still->pid(), SIGSTOP), 0);
    ASSERT_NO_FATAL_FAILURE(restart(agent));
    wait_endpoint(agent, "demo/still", is_dead);
  }
  static void freeze(const AgentProcess& agent) { ASSERT_EQ(::kill(agent.pid(), SIGSTOP), 0); }
  static void thaw(const AgentProcess& agent) { ASSERT_EQ(::kill(agent.pid(), SIGCONT), 0); }
};

// --- The target's agent: a new one is not that of the plan, and cannot commit

TEST_F(MoverRestartTest, ATargetAgentThatRestartsBeforeTheIntentAborts) {
  for (const char* at : {"docked", "restored"}) {
    const std::string name = std::string("kv/") + at;
    ASSERT_NO_FATAL_FAILURE(
        begin_move({.names = {name}, .server_holds = {"converged"}, .standby_holds = {at}}));
    ASSERT_TRUE(standby_->wait(std::string("holds ") + at)) << standby_->said();
    ASSERT_NO_FATAL_FAILURE(restart(*two_));
    EXPECT_EQ(wait_state(*one_, move_.id(), "aborted").abort_reason(),
              "the target's agent is lost");
    EXPECT_TRUE(standby_->wait("order drop")) << standby_->said();
    EXPECT_TRUE(serves(endpoint(*one_, "demo/" + name), "one", 1));
  }
}

TEST_F(MoverRestartTest, ATargetAgentThatRestartsWhileClientsWaitGivesTheGroupBack) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.standby_holds = {"restored"}}));
  ASSERT_TRUE(server_->wait("says parked"));
  ASSERT_TRUE(standby_->wait("holds restored"));
  ASSERT_NO_FATAL_FAILURE(restart(*two_));
  EXPECT_TRUE(server_->wait("order resume epoch 2")) << server_->said();
  EXPECT_TRUE(standby_->wait("order drop epoch 2")) << standby_->said();
  wait_state(*one_, move_.id(), "aborted");
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "one", 2));
}

TEST_F(MoverRestartTest, ATargetAgentThatStaysAwayGivesTheGroupBack) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.standby_holds = {"restored"}}));
  ASSERT_TRUE(server_->wait("says parked"));
  two_->kill();
  EXPECT_TRUE(server_->wait("order resume epoch 2")) << server_->said();
  EXPECT_EQ(wait_state(*one_, move_.id(), "aborted").abort_reason(), "the target's agent is lost");
}

// Committed, and the agent died before its process heard of it.
TEST_F(MoverRestartTest, AProcessIsGrantedByTheNextAgentWhatTheLastHasCommitted) {
  const auto server = start_server(*one_, {"kv", "kv/log"});
  const auto standby = start_standby(*two_, {"go"});
  const auto watcher = attach(*one_);
  ASSERT_TRUE(resolve(*watcher, "demo/kv"));
  const auto planned = plan(*one_, "demo/kv", "two");
  ASSERT_TRUE(planned) << planned.error().to_string();
  ASSERT_TRUE(standby->wait("holds go")) << standby->said();
  ASSERT_NO_FATAL_FAILURE(restart_past_the_grace(*two_));
  EXPECT_TRUE(standby->wait("order go epoch 2 members 2")) << standby->said();
  EXPECT_TRUE(standby->wait("says over"));
  EXPECT_TRUE(server->wait("order gone epoch 2"));
  const auto after = wait_endpoint(*one_, "demo/kv", [&](const EndpointInfo& info) {
    // Confirmed by the new agent.
    return serves(info, "two", 2) && info.node_incarnation() == admin(*two_).hello().incarnation();
  });
  EXPECT_EQ(after.pid(), static_cast<std::uint32_t>(standby->pid()));
  EXPECT_TRUE(wait_held(*two_, standby->pid(), 3));
  standby->kill();
  wait_endpoint(*one_, "demo/kv", is_dead);
}

// --- The source's agent: another takes over where it was

TEST_F(MoverRestartTest, ASourceAgentThatRestartsGoesOnWithTheCopy) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {"converged"}}));
  ASSERT_TRUE(server_->wait("holds converged"));
  ASSERT_NO_FATAL_FAILURE(restart_past_the_grace(*one_));
  ASSERT_TRUE(server_->wait("attached again")) << server_->said();
  server_->tell("say converged");
  EXPECT_TRUE(standby_->wait("order go epoch 2")) << standby_->said();
  EXPECT_TRUE(server_->wait("order gone epoch 2")) << server_->said();
  wait_state(*one_, move_.id(), "committed");
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "two", 2));
}

TEST_F(MoverRestartTest, ASourceAgentThatRestartsBeforeTheDockIsBoundGoesOn) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.standby_holds = {"docked"}}));
  ASSERT_TRUE(standby_->wait("holds docked"));
  ASSERT_NO_FATAL_FAILURE(restart(*one_));
  ASSERT_TRUE(server_->wait("attached again"));
  standby_->tell("say docked");
  EXPECT_TRUE(server_->wait("order gone epoch 2")) << server_->said();
  wait_state(*one_, move_.id(), "committed");
}

// It confirms its endpoints anew while they move: the commit comes through all the same.
TEST_F(MoverRestartTest, ASourceAgentThatRestartsWhileClientsWaitDoesNotHinderTheCommit) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.standby_holds = {"restored"}}));
  ASSERT_TRUE(server_->wait("says parked"));
  ASSERT_TRUE(standby_->wait("holds restored"));
  ASSERT_NO_FATAL_FAILURE(restart(*one_));
  ASSERT_TRUE(server_->wait("attached again"));
  const std::uint64_t incarnation = admin(*one_).hello().incarnation();
  wait_endpoint(*two_, "demo/kv", [&](const EndpointInfo& info) {
    return info.node_incarnation() == incarnation &&
           info.place().state() == static_cast<std::uint32_t>(EndpointState::moving);
  });
  standby_->tell("say restored");
  EXPECT_TRUE(standby_->wait("order go epoch 2")) << standby_->said();
  EXPECT_TRUE(server_->wait("order gone epoch 2")) << server_->said();
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "two", 2));
}

// While it was away the move has ended; its process is told how.
TEST_F(MoverRestartTest, AProcessHearsFromTheNextAgentHowItsMoveEnded) {
  const auto watcher = attach(*two_);
  Told told;
  watcher->set_listener(&told);
  for (const bool committed : {true, false}) {
    const std::string name = committed ? "kv" : "kv/2";
    const auto server = start_server(*one_, {name});
    const auto standby = start_standby(*two_, {"restored"});
    const auto place = resolve(*watcher, "demo/" + name);
    ASSERT_TRUE(place);
    const auto planned = plan(*two_, "demo/" + name, "two");
    ASSERT_TRUE(planned) << planned.error().to_string();
    ASSERT_TRUE(server->wait("says parked"));
    ASSERT_TRUE(standby->wait("holds restored"));
    one_->kill();
    ASSERT_TRUE(server->wait("agent lost"));
    if (committed) {
      standby->tell("say restored");
    } else {
      ASSERT_TRUE(admin(*two_).abort_migration(planned->id()));
    }
    wait_state(*two_, planned->id(), committed ? "committed" : "aborted");
    ASSERT_TRUE(one_->launch()) << one_->log();
    EXPECT_TRUE(server->wait(committed ? "order gone epoch 2" : "order resume epoch 2"))
        << server->said();
    wait_endpoint(*one_, "demo/" + name, [&](const EndpointInfo& info) {
      return serves(info, committed ? "two" : "one", 2);
    });
    // Nobody was told that it died.
    for (const EndpointPlace& change : told.changes()) {
      EXPECT_FALSE(change.id == place->id && change.gone());
    }
    EXPECT_EQ(server->said().find("changed demo/" + name + " state 4"), std::string::npos);
  }
  watcher->set_listener(nullptr);
}

// --- Agents that stand still for longer than their session

TEST_F(MoverRestartTest, ATargetAgentThatStandsStillLosesTheGroup) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.standby_holds = {"restored"}}));
  ASSERT_TRUE(server_->wait("says parked"));
  ASSERT_TRUE(standby_->wait("holds restored"));
  ASSERT_NO_FATAL_FAILURE(freeze(*two_));
  standby_->tell("say restored");
  EXPECT_TRUE(server_->wait("order resume epoch 2")) << server_->said();
  ASSERT_NO_FATAL_FAILURE(thaw(*two_));
  EXPECT_TRUE(standby_->wait("order drop epoch 2")) << standby_->said();
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "one", 2));
}

TEST_F(MoverRestartTest, TheTargetCommitsWithoutASourceAgentThatStandsStill) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.standby_holds = {"restored"}, .asked = two_.get()}));
  ASSERT_TRUE(server_->wait("says parked"));
  ASSERT_TRUE(standby_->wait("holds restored"));
  ASSERT_NO_FATAL_FAILURE(freeze(*one_));
  standby_->tell("say restored");
  EXPECT_TRUE(standby_->wait("order go epoch 2")) << standby_->said();
  ASSERT_NO_FATAL_FAILURE(thaw(*one_));
  EXPECT_TRUE(server_->wait("order gone epoch 2")) << server_->said();
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "two", 2));
}

// Its agent learns of the death before it learns of the commit, and tells nobody what is not so.
TEST_F(MoverRestartTest, ASourceProcessThatDiesUnseenAfterTheCommitTakesNothingWithIt) {
  const auto three = start_agent("three", {"--session-timeout", "30s"});
  ASSERT_TRUE(three);
  const auto server = start_server(*three, {"kv"});
  const auto standby = start_standby(*two_, {"restored"});
  const auto near = attach(*three);
  Told told;
  near->set_listener(&told);
  const auto place = resolve(*near, "demo/kv");
  ASSERT_TRUE(place);
  const auto planned = plan(*two_, "demo/kv", "two");
  ASSERT_TRUE(planned) << planned.error().to_string();
  ASSERT_TRUE(server->wait("says parked"));
  ASSERT_TRUE(standby->wait("holds restored"));
  ASSERT_NO_FATAL_FAILURE(freeze(*three));
  server->kill();
  standby->tell("say restored");
  ASSERT_TRUE(standby->wait("order go epoch 2")) << standby->said();
  ASSERT_NO_FATAL_FAILURE(thaw(*three));
  EXPECT_TRUE(told.wait_change([](const EndpointPlace& each) { return each.node == "two"; }));
  // What it was to bury is buried by now: that of a later death is.
  const auto other = start_holder(*three, {"other"});
  other->kill();
  wait_endpoint(*two_, "demo/other", is_dead);
  for (const EndpointPlace& change : told.changes()) {
    EXPECT_FALSE(change.id == place->id && change.gone());
  }
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "two", 2));
  near->set_listener(nullptr);
}

// --- Nodes that are lost

TEST_F(MoverRestartTest, AMoveThatLostBothItsNodesIsEndedByAnother) {
  const auto three = start_agent("three");
  ASSERT_TRUE(three);
  ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {"parked"}, .standby_holds = {"restored"}}));
  ASSERT_TRUE(server_->wait("holds parked"));
  one_->kill();
  two_->kill();
  server_->kill();
  standby_->kill();
  // Somebody asks for it, and it is found dead.
  const auto caller = attach(*three);
  const auto& member = move_.members(0);
  const EndpointId id{member.dc(), member.slot(), member.generation()};
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  Result<EndpointPlace> place = locate(*caller, id);
  while (place && !place->gone() && std::chrono::steady_clock::now() < deadline) {
    place = locate(*caller, id);
  }
  ASSERT_TRUE(place && place->gone());
  const auto move = wait_state(*three, move_.id(), "aborted");
  EXPECT_EQ(move.abort_reason(), "both its nodes are lost, and its endpoints dead");
  EXPECT_EQ(move.aborted_by(), "three");
}

}  // namespace
}  // namespace godwit::node_tests
