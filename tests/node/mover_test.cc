// Moves between running agents: their life to the commit, and to each kind of abort.
#include <signal.h>

#include <algorithm>
#include <fstream>

#include "node/move_fixture.h"

namespace godwit::node_tests {
namespace {

class MoverTest : public TwoNodesTest {};

TEST_F(MoverTest, AGroupMovesToAStandbyAndServesThere) {
  const auto server = start_server(*one_, {"kv", "kv/log"});
  server->tell("bind demo fixed");
  ASSERT_TRUE(server->wait("bound "));
  const auto standby = start_standby(*two_);
  const auto near = attach(*one_), far = attach(*two_);
  Told near_told, far_told;
  near->set_listener(&near_told);
  far->set_listener(&far_told);
  const auto before = resolve(*near, "demo/kv");
  ASSERT_TRUE(before && resolve(*far, "demo/kv"));

  const auto planned = plan(*one_, "demo/kv", "two");
  ASSERT_TRUE(planned) << planned.error().to_string();
  EXPECT_EQ(planned->members_size(), 2);
  EXPECT_EQ(planned->program(), "kv");
  EXPECT_EQ(planned->source_node(), "one");
  EXPECT_TRUE(standby->wait("order in epoch 1 members 2")) << standby->said();
  EXPECT_TRUE(server->wait("order out epoch 1 members 2")) << server->said();
  EXPECT_TRUE(server->wait("order close epoch 1")) << server->said();
  EXPECT_TRUE(standby->wait("order go epoch 2 members 2")) << standby->said();
  EXPECT_TRUE(server->wait("order gone epoch 2")) << server->said();

  const auto move = wait_move(*two_, planned->id(), [](const MigrationInfo& each) {
    return each.state() == "committed" && each.times().blackout_us() > 0 &&
           each.times().target_blackout_us() > 0;
  });
  EXPECT_EQ(move.times().copied_us(), 5000u);
  EXPECT_EQ(move.times().closed_us(), 40u);
  EXPECT_EQ(move.times().transferred_us(), 300u);
  EXPECT_EQ(move.times().restored_us(), 250u);
  EXPECT_EQ(move.times().blackout_us(), 1540u);
  EXPECT_EQ(move.times().target_blackout_us(), 1200u);
  EXPECT_GT(move.committed_us(), 0u);
  EXPECT_EQ(move.progress().bytes_sent(), 1u << 20);

  for (const char* name : {"demo/kv", "demo/kv/log"}) {
    const auto after = endpoint(*one_, name);
    EXPECT_TRUE(serves(after, "two", 2)) << after.ShortDebugString();
    EXPECT_EQ(after.pid(), static_cast<std::uint32_t>(standby->pid()));
    EXPECT_EQ(after.place().engine_address(), "engine of the target");
  }
  EXPECT_TRUE(serves(endpoint(*one_, "demo/fixed"), "one", 1));
  const auto moved = [&](const EndpointPlace& place) {
    return place.id == before->id && place.node == "two" && place.epoch == 2;
  };
  EXPECT_TRUE(near_told.wait_change(moved));
  EXPECT_TRUE(far_told.wait_change(moved));
  EXPECT_EQ(near->cached("demo/kv")->lineage, before->lineage);
  // The two that came, and the dock, which is the process's own.
  EXPECT_TRUE(wait_held(*two_, standby->pid(), 3));
  EXPECT_TRUE(wait_held(*one_, server->pid(), 1));

  // What left is not the old process's any more: not its death, nor that of its other endpoints.
  server->kill();
  wait_endpoint(*two_, "demo/fixed", is_dead);
  EXPECT_TRUE(serves(endpoint(*two_, "demo/kv"), "two", 2));
  EXPECT_EQ(near->cached("demo/kv")->node, "two");
  EXPECT_EQ(locate(*near, before->id)->state, EndpointState::serving);
  // But it is the new one's.
  standby->kill();
  EXPECT_TRUE(near_told.wait_state(before->id, EndpointState::dead));
  near->set_listener(nullptr);
  far->set_listener(nullptr);
}

TEST_F(MoverTest, ItMovesThereAndBackAgain) {
  const auto server = start_server(*one_, {"kv"});
  const auto standby = start_standby(*two_);
  const auto there = plan(*one_, "demo/kv", "two");
  ASSERT_TRUE(there) << there.error().to_string();
  ASSERT_TRUE(server->wait("order gone"));
  ASSERT_TRUE(standby->wait("order go "));
  const auto third = start_standby(*one_);
  // Asked of the agent that has no part in it as yet.
  const auto back = plan(*one_, "demo/kv", "one");
  ASSERT_TRUE(back) << back.error().to_string();
  ASSERT_TRUE(standby->wait("order gone epoch 3"));
  wait_state(*two_, back->id(), "committed");
  EXPECT_TRUE(serves(endpoint(*two_, "demo/kv"), "one", 3));
}

TEST_F(MoverTest, ASourceThatCannotCopyGoesOnServing) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {"converged"}}));
  ASSERT_TRUE(server_->wait("holds converged")) << server_->said();
  server_->tell("say cannot 9 the disk is on fire");
  EXPECT_TRUE(server_->wait("order resume epoch 1")) << server_->said();
  EXPECT_TRUE(standby_->wait("order drop")) << standby_->said();
  const auto move = wait_state(*one_, move_.id(), "aborted");
  EXPECT_EQ(move.abort_reason(), "the transfer failed: the disk is on fire");
  EXPECT_EQ(move.aborted_by(), "one");
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "one", 1));
  // Nothing keeps a second attempt away.
  standby_->tell("stand");
  ASSERT_TRUE(standby_->wait("stands by"));
  const auto again = plan(*two_, "demo/kv", "two");
  ASSERT_TRUE(again) << again.error().to_string();
  ASSERT_TRUE(server_->wait("holds converged"));
  server_->tell("say converged");
  wait_state(*one_, again->id(), "committed");
}

TEST_F(MoverTest, AfterTheIntentAnAbortRaisesTheEpoch) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {"parked"}, .standby_holds = {"restored"}}));
  ASSERT_TRUE(server_->wait("holds parked")) << server_->said();
  wait_state(*one_, move_.id(), "moving");
  server_->tell("say cannot 8 get of demo/client");
  EXPECT_TRUE(server_->wait("order resume epoch 2")) << server_->said();
  EXPECT_TRUE(standby_->wait("order drop epoch 2")) << standby_->said();
  const auto move = wait_state(*two_, move_.id(), "aborted");
  EXPECT_EQ(move.abort_reason(), "a request does not end: get of demo/client");
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "one", 2));
}

TEST_F(MoverTest, AMoveIsGivenUpByHand) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {"converged"}}));
  ASSERT_TRUE(server_->wait("holds converged"));
  ASSERT_TRUE(admin(*two_).abort_migration(move_.id()));
  EXPECT_TRUE(server_->wait("order resume epoch 1")) << server_->said();
  EXPECT_TRUE(standby_->wait("order drop")) << standby_->said();
  EXPECT_EQ(wait_state(*one_, move_.id(), "aborted").abort_reason(),
            "given up by hand at node two");
  const auto again = admin(*two_).abort_migration(move_.id());
  EXPECT_EQ(again.error().code, Errc::invalid_argument);
  EXPECT_NE(again.error().message.find("it was aborted"), std::string::npos);
  EXPECT_EQ(admin(*two_).abort_migration(77).error().code, Errc::not_found);
}

TEST_F(MoverTest, AStateThatIsRefusedAborts) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.standby_holds = {"restored"}}));
  ASSERT_TRUE(server_->wait("says parked"));
  ASSERT_TRUE(standby_->wait("holds restored"));
  standby_->tell("say cannot 12 version 9 is unknown");
  EXPECT_TRUE(server_->wait("order resume epoch 2"));
  EXPECT_EQ(wait_state(*one_, move_.id(), "aborted").abort_reason(),
            "the state was refused: version 9 is unknown");
}

// --- Processes that die

TEST_F(MoverTest, ATargetProcessThatDiesBeforeTheIntentChangesNothing) {
  for (const char* at : {"docked", "restored"}) {
    ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {"converged"}, .standby_holds = {at}}));
    ASSERT_TRUE(standby_->wait(std::string("holds ") + at)) << standby_->said();
    const bool copying = std::string(at) == "restored";
    if (copying) {
      ASSERT_TRUE(server_->wait("holds converged"));
    }
    standby_->kill();
    const auto move = wait_state(*one_, move_.id(), "aborted");
    EXPECT_EQ(move.abort_reason(), "the target's process is lost");
    EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "one", 1));
    // One that was told nothing yet may be spared this.
    if (copying) {
      EXPECT_TRUE(server_->wait("order resume epoch 1")) << server_->said();
    }
    server_->tell("detach");
    wait_endpoint(*one_, "demo/kv", [](const EndpointInfo& info) {
      return info.place().state() == static_cast<std::uint32_t>(EndpointState::unbound);
    });
  }
}

TEST_F(MoverTest, ATargetProcessThatDiesWhileClientsWaitGivesTheGroupBack) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.standby_holds = {"restored"}}));
  ASSERT_TRUE(server_->wait("says parked"));
  standby_->kill();
  EXPECT_TRUE(server_->wait("order resume epoch 2")) << server_->said();
  wait_state(*one_, move_.id(), "aborted");
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "one", 2));
}

TEST_F(MoverTest, ASourceProcessThatDiesIsDeadAndItsMoveAborted) {
  for (const char* at : {"converged", "parked"}) {
    ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {at}, .standby_holds = {"restored"}}));
    ASSERT_TRUE(server_->wait(std::string("holds ") + at)) << server_->said();
    server_->kill();
    EXPECT_EQ(wait_state(*one_, move_.id(), "aborted").abort_reason(), "a member is lost");
    EXPECT_TRUE(is_dead(endpoint(*one_, "demo/kv")));
    EXPECT_TRUE(standby_->wait("order drop")) << standby_->said();
  }
}

// A clean exit during the hand-off cannot unbind what may be another's in a moment.
TEST_F(MoverTest, ASourceProcessThatLeavesWhileClientsWaitIsDead) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {"parked"}, .standby_holds = {"restored"}}));
  ASSERT_TRUE(server_->wait("holds parked"));
  server_->tell("detach");
  wait_state(*one_, move_.id(), "aborted");
  EXPECT_TRUE(is_dead(endpoint(*one_, "demo/kv")));
}

TEST_F(MoverTest, NothingIsUnboundWhileClientsWait) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {"parked"}}));
  ASSERT_TRUE(server_->wait("holds parked"));
  wait_state(*one_, move_.id(), "committed");
  ASSERT_TRUE(standby_->wait("says over"));
  const auto& member = move_.members(0);
  const std::string id = EndpointId{member.dc(), member.slot(), member.generation()}.to_string();
  // Its new owner may.
  standby_->tell("unbind " + id);
  wait_endpoint(*one_, "demo/kv", [](const EndpointInfo& info) {
    return info.place().state() == static_cast<std::uint32_t>(EndpointState::unbound);
  });

  const auto second = start_server(*one_, {"kv/2"}, {"parked"});
  const auto held = start_standby(*two_, {"restored"});
  const auto again = plan(*one_, "demo/kv/2", "two");
  ASSERT_TRUE(again) << again.error().to_string();
  ASSERT_TRUE(second->wait("holds parked"));
  const auto& other = again->members(0);
  second->tell("unbind " + EndpointId{other.dc(), other.slot(), other.generation()}.to_string());
  EXPECT_TRUE(second->wait("failed it is being moved")) << second->said();
}

TEST_F(MoverTest, AnEndpointThatIsUnboundBeforeTheIntentEndsTheMove) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.names = {"kv", "kv/log"}, .server_holds = {"converged"}}));
  ASSERT_TRUE(server_->wait("holds converged"));
  const auto& member = move_.members(1);
  server_->tell("unbind " +
                EndpointId{member.dc(), member.slot(), member.generation()}.to_string());
  wait_endpoint(*one_, "demo/kv/log", [](const EndpointInfo& info) {
    return info.place().state() == static_cast<std::uint32_t>(EndpointState::unbound);
  });
  server_->tell("say converged");
  EXPECT_TRUE(server_->wait("order resume epoch 1")) << server_->said();
  EXPECT_EQ(wait_state(*one_, move_.id(), "aborted").abort_reason(), "a member is lost");
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "one", 1));
}

TEST_F(MoverTest, AfterTheCommitTheSourceProcessIsNotNeeded) {
  ASSERT_NO_FATAL_FAILURE(begin_move({.server_holds = {"over"}}));
  ASSERT_TRUE(server_->wait("holds over"));
  server_->kill();
  // A bind of another process that dies is buried after what was to be buried of this one.
  const auto other = start_holder(*one_, {"other"});
  other->kill();
  wait_endpoint(*two_, "demo/other", is_dead);
  EXPECT_TRUE(serves(endpoint(*two_, "demo/kv"), "two", 2));
}

// --- Programs that the agent starts

class MoverProgramTest : public MoveTest {
 protected:
  /// Agents `one` and `two`, and `two` starts the player with these arguments as the program `kv`.
  void start(const std::vector<std::string>& arguments) {
    std::ofstream file(folder_.path() + "/two.toml");
    file << "[programs.kv]\ncommand = [";
    for (const std::string& each : arguments) file << '"' << each << "\", ";
    file << "]\n";
    file.close();
    one_ = start_agent("one");
    two_ = start_agent("two", {"--config", folder_.path() + "/two.toml"});
    ASSERT_TRUE(one_ && two_);
  }
  void start_player(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {test_support::program_path("godwit-test-move-player"), "--program", "kv"});
    start(arguments);
  }
  std::unique_ptr<AgentProcess> one_, two_;
};

TEST_F(MoverProgramTest, AProgramIsStartedForTheMoveAndServesOn) {
  ASSERT_NO_FATAL_FAILURE(start_player({}));
  EXPECT_EQ(nodes(*one_).at(1).capabilities(0), "program:kv");
  const auto server = start_server(*one_, {"kv"});
  const auto planned = plan(*one_, "demo/kv", "two");
  ASSERT_TRUE(planned) << planned.error().to_string();
  wait_state(*one_, planned->id(), "committed");
  ASSERT_TRUE(server->wait("order gone"));
  const auto pid = static_cast<pid_t>(endpoint(*one_, "demo/kv").pid());
  ASSERT_GT(pid, 1);
  // It has a session of its own, and outlives the agent that started it.
  EXPECT_EQ(::getsid(pid), pid);
  two_->kill();
  ASSERT_TRUE(two_->launch()) << two_->log();
  EXPECT_TRUE(wait_held(*two_, pid, 2));
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "two", 2));
  ::kill(pid, SIGKILL);
  wait_endpoint(*one_, "demo/kv", is_dead);
}

TEST_F(MoverProgramTest, WhatWasStartedInVainIsEnded) {
  ASSERT_NO_FATAL_FAILURE(start_player({"--hold", "docked"}));
  const auto server = start_server(*one_, {"kv"});
  const auto planned = plan(*one_, "demo/kv", "two");
  ASSERT_TRUE(planned) << planned.error().to_string();
  pid_t pid = 0;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (pid == 0 && std::chrono::steady_clock::now() < deadline) {
    for (const auto& process : processes(*two_)) {
      if (process.program() == "player") pid = static_cast<pid_t>(process.pid());
    }
  }
  ASSERT_GT(pid, 1);
  ASSERT_TRUE(admin(*one_).abort_migration(planned->id()));
  while (::kill(pid, 0) == 0 && std::chrono::steady_clock::now() < deadline) {
  }
  EXPECT_NE(::kill(pid, 0), 0);
  EXPECT_TRUE(serves(endpoint(*one_, "demo/kv"), "one", 1));
}

TEST_F(MoverProgramTest, AProgramThatEndsAtOnceAborts) {
  ASSERT_NO_FATAL_FAILURE(start({"/bin/false"}));
  const auto server = start_server(*one_, {"kv"});
  const auto planned = plan(*one_, "demo/kv", "two");
  ASSERT_TRUE(planned) << planned.error().to_string();
  EXPECT_EQ(wait_state(*one_, planned->id(), "aborted").abort_reason(),
            "no process could be started: what was started for it ended with status 1 before it "
            "stood by");
}

TEST_F(MoverProgramTest, ACommandThatIsNotThereAborts) {
  ASSERT_NO_FATAL_FAILURE(start({"/no/such/program"}));
  const auto server = start_server(*one_, {"kv"});
  const auto planned = plan(*one_, "demo/kv", "two");
  ASSERT_TRUE(planned) << planned.error().to_string();
  EXPECT_EQ(wait_state(*one_, planned->id(), "aborted").abort_reason(),
            "no process could be started: cannot start /no/such/program: No such file or "
            "directory");
}

}  // namespace
}  // namespace godwit::node_tests
