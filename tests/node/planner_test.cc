// The preflight: what is refused before anything is written; and drains.
#include "agent/preflight.h"

#include <algorithm>
#include <map>

#include "godwit/coord/moves.h"
#include "node/move_fixture.h"

namespace godwit::node_tests {
namespace {

class PlannerTest : public TwoNodesTest {
 protected:
  static void refused(const Result<MigrationInfo>& planned, Errc code, const std::string& says) {
    ASSERT_FALSE(planned) << planned->ShortDebugString();
    EXPECT_EQ(planned.error().code, code) << planned.error().to_string();
    EXPECT_NE(planned.error().to_string().find(says), std::string::npos)
        << planned.error().to_string();
  }
};

TEST_F(PlannerTest, RefusesWhatCannotMoveAndSaysWhy) {
  const auto server = start_server(*one_, {"kv"});
  server->tell("bind demo fixed");
  ASSERT_TRUE(server->wait("bound "));
  refused(plan(*one_, "demo/nobody", "two"), Errc::not_found, "no such endpoint is bound");
  refused(plan(*one_, "nowhere/kv", "two"), Errc::not_found, "there is no DC 'nowhere'");
  refused(plan(*one_, "demo", "two"), Errc::invalid_argument, "DC/NAME");
  refused(plan(*one_, "demo/kv", "three"), Errc::not_found, "there is no node 'three'");
  refused(plan(*one_, "demo/fixed", "two"), Errc::invalid_argument,
          "the program did not say how it can move");
  refused(plan(*one_, "demo/kv", "one"), Errc::invalid_argument, "it is on node 'one' already");
  refused(plan(*one_, "demo/kv", "two"), Errc::invalid_argument,
          "node 'two' does not have the program 'kv': configure [programs.kv] there");
  const auto third = start_agent("three");
  ASSERT_TRUE(third);
  const auto standby = start_standby(*third);
  // The agent that is asked need not be one of the move's.
  for (const AgentProcess* agent : {third.get(), one_.get()}) {
    refused(plan(*agent, "demo/kv", "two"), Errc::invalid_argument, "nodes that have it: three");
  }
  standby->kill();
  third->stop();
  // However soon: who has shown a node knows of it.
  refused(plan(*one_, "demo/kv", "three"), Errc::invalid_argument, "node 'three' is not alive");
  endpoints::proto::MigrateRequest request;
  request.set_dc(endpoint(*one_, "demo/kv").place().dc());
  request.set_slot(4'000'000);
  request.set_generation(1);
  request.set_node("two");
  refused(admin(*one_).migrate(request), Errc::not_found, "no such endpoint is bound");
  EXPECT_TRUE(admin(*one_).list_migrations(10)->empty());
}

TEST_F(PlannerTest, RefusesASecondMoveAndNamesTheFirst) {
  const auto server = start_server(*one_, {"kv", "kv/log"}, {"converged"});
  const auto standby = start_standby(*two_), second = start_standby(*two_);
  const auto planned = plan(*one_, "demo/kv", "two");
  ASSERT_TRUE(planned) << planned.error().to_string();
  for (const AgentProcess* agent : {one_.get(), two_.get()}) {
    refused(plan(*agent, "demo/kv/log", "two"), Errc::invalid_argument,
            "a move of it is under way: " + coord::format_move_id(planned->id()));
  }
  const auto under_way = admin(*two_).list_migrations();
  ASSERT_TRUE(under_way);
  ASSERT_EQ(under_way->size(), 1u);
  EXPECT_EQ(under_way->front().id(), planned->id());
}

TEST_F(PlannerTest, RefusesANodeThatTheDcIsNotFor) {
  endpoints::proto::CreateDcRequest create;
  create.set_name("east");
  create.add_nodes("one");
  create.add_nodes("other");
  ASSERT_TRUE(admin(*one_).create_dc(create));
  PlayedProcess server(*one_, {});
  server.tell("bind east kv kv");
  ASSERT_TRUE(server.wait("bound "));
  const auto standby = start_standby(*two_);
  refused(plan(*one_, "east/kv", "two"), Errc::invalid_argument,
          "the DC 'east' is not for node 'two': its nodes are one, other");
}

TEST_F(PlannerTest, RefusesAGroupThatIsTooLarge) {
  const auto server = start_server(*one_, {"kv"});
  for (int i = 1; i <= 64; ++i) server->tell("bind demo kv/" + std::to_string(i) + " kv");
  for (int i = 1; i <= 64; ++i) ASSERT_TRUE(server->wait("bound "));
  const auto standby = start_standby(*two_);
  // By the agent's own table, and by the directory.
  for (const AgentProcess* agent : {one_.get(), two_.get()}) {
    refused(plan(*agent, "demo/kv", "two"), Errc::too_large,
            "it is served together with 64 others; a move takes at most 64");
  }
}

TEST_F(PlannerTest, AnEndpointIsNamedByItsIdAsWell) {
  const auto server = start_server(*one_, {"kv"});
  const auto standby = start_standby(*two_);
  const auto place = endpoint(*one_, "demo/kv").place();
  endpoints::proto::MigrateRequest request;
  request.set_dc(place.dc());
  request.set_slot(place.slot());
  request.set_generation(place.generation() + 1);
  request.set_node("two");
  refused(admin(*two_).migrate(request), Errc::not_found, "no such endpoint is bound");
  request.set_generation(place.generation());
  const auto planned = admin(*two_).migrate(request);
  ASSERT_TRUE(planned) << planned.error().to_string();
  EXPECT_EQ(planned->requested_by(), "two");
  wait_state(*one_, planned->id(), "committed");
}

TEST_F(PlannerTest, AStandbyIsTheNodesCapabilityAsLongAsItStandsBy) {
  const auto capabilities = [&] {
    for (const auto& node : nodes(*one_)) {
      if (node.name() == "two") return node.capabilities_size();
    }
    return -1;
  };
  EXPECT_EQ(capabilities(), 0);
  const auto standby = start_standby(*two_);
  EXPECT_EQ(capabilities(), 1);
  standby->kill();
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (capabilities() != 0 && std::chrono::steady_clock::now() < deadline) {
  }
  EXPECT_EQ(capabilities(), 0);
}

// --- Drains

TEST_F(PlannerTest, ADrainMovesWhatCanToWhereItFits) {
  const auto three = start_agent("three");
  ASSERT_TRUE(three);
  const auto first = start_server(*one_, {"a", "a/log"}), second = start_server(*one_, {"b"}),
             third = start_server(*one_, {"c"});
  third->tell("bind demo fixed");
  ASSERT_TRUE(third->wait("bound "));
  third->tell("bind demo odd other");
  ASSERT_TRUE(third->wait("bound "));
  const auto far = start_standby(*two_), far_too = start_standby(*two_),
             farther = start_standby(*three), farther_too = start_standby(*three);
  const auto drained = admin(*two_).drain("one");
  ASSERT_TRUE(drained) << drained.error().to_string();
  ASSERT_EQ(drained->moves_size(), 3);
  std::map<std::string, int> members;
  for (const MigrationInfo& move : drained->moves()) {
    members[move.target_node()] += move.members_size();
    wait_state(*one_, move.id(), "committed");
  }
  EXPECT_EQ(members["two"], 2);
  EXPECT_EQ(members["three"], 2);
  ASSERT_EQ(drained->stay_size(), 2);
  EXPECT_EQ(drained->stay(0).name(), "demo/fixed");
  EXPECT_EQ(drained->stay(0).reason(), node::kCannotMove);
  EXPECT_EQ(drained->stay(1).name(), "demo/odd");
  EXPECT_EQ(drained->stay(1).reason(), "no other live node of the DC has the program 'other'");
  EXPECT_TRUE(wait_held(*one_, first->pid(), 0));

  // Docks are the processes' own.
  const auto again = admin(*one_).drain("");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->moves_size(), 0);
  EXPECT_EQ(again->stay_size(), 2);
  EXPECT_EQ(admin(*one_).drain("nowhere").error().code, Errc::not_found);
}

TEST_F(PlannerTest, ADrainNamesTheMovesThatAreUnderWay) {
  const auto server = start_server(*one_, {"kv"}, {"converged"});
  const auto standby = start_standby(*two_);
  const auto planned = plan(*one_, "demo/kv", "two");
  ASSERT_TRUE(planned) << planned.error().to_string();
  const auto drained = admin(*one_).drain("one");
  ASSERT_TRUE(drained) << drained.error().to_string();
  ASSERT_EQ(drained->moves_size(), 1);
  EXPECT_EQ(drained->moves(0).id(), planned->id());
  EXPECT_EQ(drained->stay_size(), 0);
}

}  // namespace
}  // namespace godwit::node_tests
