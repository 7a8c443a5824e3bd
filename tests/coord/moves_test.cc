// The steps of a move and what refuses them, over each Coordinator.
#include "coord/moves_fixture.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>

namespace godwit::coord {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MovesTest : public MovesFixture {
 protected:
  void expect_served_by_source(const EndpointEntry& before, std::uint32_t epoch) {
    const auto now = s().endpoint(before.record.slot());
    ASSERT_TRUE(now);
    EXPECT_EQ(now->record.state(), proto::SERVING);
    EXPECT_EQ(now->record.epoch(), epoch);
    EXPECT_EQ(now->record.owner().process(), MoveAgent::kSourceProcess);
    EXPECT_EQ(now->record.engine_address(), "old");
    EXPECT_FALSE(now->record.has_migration());
  }
};

TEST_P(MovesTest, AMoveGoesFromPlanToCommit) {
  const auto members = group(1);
  const std::uint32_t slot = members[0].record.slot();
  auto planned = s().plan(members);
  ASSERT_TRUE(planned) << planned.error().message;
  const std::uint64_t id = planned->entry.record.id();
  const auto& record = planned->entry.record;
  EXPECT_EQ(record.state(), State::PLANNED);
  EXPECT_EQ(record.program(), "prog");
  EXPECT_EQ(record.source().process(), MoveAgent::kSourceProcess);
  EXPECT_EQ(record.members(0).name(), members[0].record.name());
  EXPECT_GT(record.times().planned_unix_ms(), 0);
  auto now = t().endpoint(slot);
  ASSERT_TRUE(now);
  EXPECT_EQ(now->record.state(), proto::SERVING);
  EXPECT_EQ(now->record.migration().id(), id);
  EXPECT_EQ(now->record.migration().target_node(), "target");

  auto seen = t().get_with_members(id);
  ASSERT_TRUE(seen);
  auto prepared = t().prepare(*seen);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_GT(prepared->entry.record.times().prepared_unix_ms(), 0);
  EXPECT_EQ(t().endpoint(slot)->stat.version, now->stat.version);  // members unchanged

  auto moving = s().begin(*s().get_with_members(id));
  ASSERT_TRUE(moving) << moving.error().message;
  now = t().endpoint(slot);
  EXPECT_EQ(now->record.state(), proto::MOVING);
  EXPECT_EQ(now->record.epoch(), 1U);
  EXPECT_EQ(now->record.owner().process(), MoveAgent::kSourceProcess);
  EXPECT_THAT(t().active(), ElementsAre(id));

  auto committed = t().commit(*t().get_with_members(id));
  ASSERT_TRUE(committed) << committed.error().message;
  now = s().endpoint(slot);
  EXPECT_EQ(now->record.state(), proto::SERVING);
  EXPECT_EQ(now->record.epoch(), 2U);
  EXPECT_EQ(now->record.owner().node(), "target");
  EXPECT_EQ(now->record.owner().process(), MoveAgent::kTargetProcess);
  EXPECT_EQ(now->record.engine_address(), "new");
  EXPECT_EQ(now->record.lineage(), members[0].record.lineage());
  EXPECT_EQ(now->record.program(), "prog");
  EXPECT_FALSE(now->record.has_migration());
  EXPECT_EQ(now->stat.version, committed->members[0].stat.version);
  EXPECT_THAT(s().active(), IsEmpty());
  EXPECT_THAT(s().past(), ElementsAre(id));
  const auto past = s().get(id);
  ASSERT_TRUE(past);
  EXPECT_EQ(past->record.state(), State::COMMITTED);
  EXPECT_EQ(past->record.times().restored_us(), 1234U);
  EXPECT_GE(past->record.times().ended_unix_ms(), past->record.times().intent_unix_ms());
  EXPECT_EQ(code_of(s().abort(id)), Errc::no_node);

  // What the source reports after the end; and the endpoint can move again.
  proto::MigrationTimes late;
  late.set_blackout_us(77);
  ASSERT_TRUE(s().wait<MoveEntry>([&](auto done) { s().moves.add_times(id, late, soon(), done); }));
  EXPECT_EQ(s().get(id)->record.times().blackout_us(), 77U);
  EXPECT_EQ(s().get(id)->record.times().restored_us(), 1234U);
  EXPECT_TRUE(s().plan({*now}));
  EXPECT_EQ(code_of(s().get(id + 1)), Errc::no_node);
}

TEST_P(MovesTest, AnAbortGivesTheMembersBackFromEachState) {
  for (const auto state : {State::PLANNED, State::PREPARED, State::MOVING}) {
    const auto members = group(2);
    auto move = s().move_in(state, members);
    ASSERT_TRUE(move) << move.error().message;
    const std::uint64_t id = move->entry.record.id();
    auto aborted = t().abort(id, "bad \xff" + std::string(10000, 'x'));
    ASSERT_TRUE(aborted) << aborted.error().message;
    EXPECT_EQ(aborted->members.size(), 2U);
    // Once the source may have stopped, the epoch rises.
    const std::uint32_t epoch = state == State::MOVING ? 2 : 1;
    for (const auto& member : members) expect_served_by_source(member, epoch);
    const auto past = s().get(id);
    ASSERT_TRUE(past) << past.error().message;
    EXPECT_EQ(past->record.state(), State::ABORTED);
    EXPECT_THAT(past->record.abort_reason(), HasSubstr("bad ?xxx"));
    EXPECT_EQ(past->record.aborted_by(), "source");
    EXPECT_THAT(s().active(), IsEmpty());
    EXPECT_EQ(code_of(s().abort(id)), Errc::no_node);
    EXPECT_EQ(code_of(s().update(move->entry)), Errc::no_node);
    auto again = s().plan(aborted->members);  // with the versions of the answer
    EXPECT_TRUE(again) << again.error().message;
    ASSERT_TRUE(s().abort(again->entry.record.id()));
  }
}

TEST_P(MovesTest, AnEndpointIsInOneMoveAtATime) {
  const auto members = group(2);
  auto first = s().plan({members[0]});
  ASSERT_TRUE(first);
  // As read before the first plan, and as it is now.
  auto stale = t().plan({members[1], members[0]});
  EXPECT_EQ(code_of(stale), Errc::endpoint_stale);
  EXPECT_EQ(stale.error().failed_op, 1);
  EXPECT_THAT(stale.error().message,
              HasSubstr("in move " + format_move_id(first->entry.record.id())));
  EXPECT_EQ(code_of(t().plan({*s().endpoint(members[0].record.slot())})), Errc::endpoint_stale);
  expect_served_by_source(members[1], 1);  // one member is refused: none is taken
  EXPECT_EQ(s().active().size(), 1U);
}

TEST_P(MovesTest, APlanIsCheckedBeforeItIsWritten) {
  const auto members = group(1);
  EXPECT_EQ(code_of(s().plan(std::vector<EndpointEntry>())), Errc::bad_argument);
  EXPECT_EQ(code_of(s().plan({members[0], members[0]})), Errc::bad_argument);
  const auto fixed = s().bind("fixed", "");
  ASSERT_TRUE(fixed);
  EXPECT_EQ(code_of(s().plan({*fixed})), Errc::bad_argument);
  const auto other = s().bind("other", "another program");
  ASSERT_TRUE(other);
  EXPECT_EQ(code_of(s().plan({members[0], *other})), Errc::bad_argument);
  const auto many = group(static_cast<int>(kMaxMembers) + 1);
  const auto refused = s().plan(many);
  EXPECT_EQ(code_of(refused), Errc::bad_argument);
  EXPECT_THAT(refused.error().message, HasSubstr("65 endpoints; the limit is 64"));
  auto nobody = MoveAgent::plan_of(members);
  nobody.target_incarnation = 0;
  EXPECT_EQ(code_of(s().plan(nobody)), Errc::bad_argument);

  // Changed since it was read: still able to move, dead, bound anew.
  auto entry = *s().endpoint(members[0].record.slot());
  entry.record.set_engine_address("old");
  ASSERT_TRUE(s().wait<EndpointEntry>([&](auto done) {
    s().directory.update_endpoint("demo", entry, std::nullopt, soon(), done);
  }));
  auto changed = s().plan({many[0], members[0]});
  EXPECT_EQ(code_of(changed), Errc::bad_version);
  EXPECT_EQ(changed.error().failed_op, 1);
  ASSERT_TRUE(s().mark_dead(members[0].record));
  EXPECT_EQ(code_of(s().plan(members)), Errc::endpoint_stale);
  EXPECT_THAT(s().active(), IsEmpty());
}

TEST_P(MovesTest, AStepFromAnotherStateOrVersionIsRefused) {
  auto planned = s().plan(group(1));
  ASSERT_TRUE(planned);
  EXPECT_EQ(code_of(s().begin(*planned)), Errc::bad_version);
  EXPECT_EQ(code_of(t().commit(*planned)), Errc::endpoint_stale);
  auto prepared = t().prepare(*planned);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(code_of(t().prepare(*planned)), Errc::bad_version);
  auto ended = prepared->entry;
  ended.record.set_state(State::COMMITTED);
  EXPECT_EQ(code_of(s().update(ended)), Errc::bad_argument);

  // Progress written by one side stops no step of the other: the record is read again.
  auto progress = prepared->entry;
  progress.record.mutable_progress()->set_rounds(3);
  ASSERT_TRUE(s().update(progress));
  auto moving = s().begin(*prepared);
  ASSERT_TRUE(moving) << moving.error().message;
  EXPECT_EQ(moving->entry.record.progress().rounds(), 3U);
  EXPECT_EQ(code_of(s().begin(*prepared)), Errc::bad_version);
  EXPECT_EQ(code_of(s().begin(*moving)), Errc::endpoint_stale);

  auto wrong = MoveAgent::commit_of(*moving);
  wrong.owner.set_process(1);
  EXPECT_EQ(
      code_of(t().wait<Move>([&](auto done) { t().moves.commit(*moving, wrong, soon(), done); })),
      Errc::bad_argument);
  auto committed = t().commit(*moving);
  ASSERT_TRUE(committed);
  EXPECT_EQ(committed->entry.record.progress().rounds(), 3U);
  EXPECT_EQ(code_of(t().commit(*moving)), Errc::no_node);
}

TEST_P(MovesTest, OnlyTheRegisteredTargetCommits) {
  // Its record changes, as with its load: nothing to the move.
  auto moving = s().move_in(State::MOVING, group(1));
  ASSERT_TRUE(moving);
  target_node_.record.mutable_load()->set_processes(9);
  auto loaded = t().wait<NodeEntry>(
      [&](auto done) { t().directory.update_node(target_node_, soon(), done); });
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(t().commit(*moving));

  // Gone.
  auto left = s().move_in(State::MOVING, group(1));
  ASSERT_TRUE(left);
  ASSERT_TRUE(
      t().wait<void>([&](auto done) { t().directory.unregister_node(*loaded, soon(), done); }));
  EXPECT_EQ(code_of(t().commit(*left)), Errc::node_taken);
  EXPECT_EQ(code_of(s().plan(group(1))), Errc::node_taken);
  // A successor, whose record is at the very version that the former one had.
  auto successor = open();
  ASSERT_TRUE(successor);
  auto registered = successor->enroll("target", 3);
  ASSERT_TRUE(registered) << registered.error().message;
  EXPECT_EQ(registered->stat.version, target_node_.stat.version);
  EXPECT_EQ(code_of(t().commit(*left)), Errc::node_taken);
  // Nothing of the refused commits was done: the successor's word is an abort.
  ASSERT_TRUE(successor->abort(left->entry.record.id()));
  expect_served_by_source(left->members[0], 2);
}

TEST_P(MovesTest, ASuccessorInTheSameSessionEndsWhatItsPredecessorMayDo) {
  auto moving = s().move_in(State::MOVING, group(1));
  ASSERT_TRUE(moving);
  ASSERT_TRUE(t().enroll("target", 3));
  EXPECT_EQ(code_of(t().commit(*moving)), Errc::node_taken);
  // And one in another session, which knows whom it succeeds.
  auto successor = open();
  ASSERT_TRUE(successor);
  ASSERT_TRUE(successor->enroll("target", MoveAgent::kTargetIncarnation, 3));
  auto plan = MoveAgent::plan_of(group(1));
  plan.target_incarnation = 3;
  EXPECT_EQ(code_of(s().plan(plan)), Errc::node_taken);
  EXPECT_TRUE(successor->commit(*moving));
}

TEST_P(MovesTest, AMemberThatDiedOrLeftIsLeftAlone) {
  // Before the intent an endpoint may be given back, and bound again.
  auto planned = s().move_in(State::PREPARED, group(2));
  ASSERT_TRUE(planned);
  const auto& gone = planned->members[0].record;
  ASSERT_TRUE(s().unbind(gone));
  EXPECT_FALSE(s().endpoint(gone.slot())->record.has_migration());
  EXPECT_EQ(code_of(s().begin(*planned)), Errc::bad_version);
  auto rest = s().get_with_members(planned->entry.record.id());
  ASSERT_TRUE(rest);
  ASSERT_EQ(rest->members.size(), 1U);
  EXPECT_EQ(code_of(s().begin(*rest)), Errc::endpoint_stale);
  ASSERT_TRUE(s().abort(planned->entry.record.id()));
  EXPECT_EQ(s().endpoint(gone.slot())->record.state(), proto::UNBOUND);
  expect_served_by_source(planned->members[1], 1);

  // While MOVING only commit, abort or DEAD may follow.
  auto moving = s().move_in(State::MOVING, group(2));
  ASSERT_TRUE(moving);
  const auto& dead = moving->members[0].record;
  EXPECT_EQ(code_of(s().unbind(dead)), Errc::endpoint_stale);
  ASSERT_TRUE(s().mark_dead(dead));
  EXPECT_FALSE(s().endpoint(dead.slot())->record.has_migration());
  EXPECT_EQ(code_of(t().commit(*moving)), Errc::bad_version);
  EXPECT_EQ(s().endpoint(moving->members[1].record.slot())->record.state(), proto::MOVING);
  const auto reborn = s().bind(dead.name());
  ASSERT_TRUE(reborn);
  EXPECT_EQ(reborn->record.slot(), dead.slot());
  auto aborted = t().abort(moving->entry.record.id());
  ASSERT_TRUE(aborted) << aborted.error().message;
  ASSERT_EQ(aborted->members.size(), 1U);
  expect_served_by_source(moving->members[1], 2);
  EXPECT_EQ(s().endpoint(dead.slot())->stat.version, reborn->stat.version);

  // All of them: there is still a record to remove.
  auto last = s().move_in(State::MOVING, group(1));
  ASSERT_TRUE(last);
  ASSERT_TRUE(s().mark_dead(last->members[0].record));
  auto buried = s().abort(last->entry.record.id());
  ASSERT_TRUE(buried) << buried.error().message;
  EXPECT_THAT(buried->members, IsEmpty());
  EXPECT_THAT(s().active(), IsEmpty());
  EXPECT_EQ(s().endpoint(last->members[0].record.slot())->record.state(), proto::DEAD);
}

TEST_P(MovesTest, WatchersTell) {
  std::atomic<int> list_changed{0};
  EXPECT_THAT(t().active([&] { ++list_changed; }), IsEmpty());
  auto planned = s().plan(group(1));
  ASSERT_TRUE(planned);
  const std::uint64_t id = planned->entry.record.id();
  EXPECT_TRUE(eventually([&] { return list_changed == 1; }));

  std::atomic<int> changed{0};
  const auto look = [&](MoveAgent& agent) { return agent.get(id, [&] { ++changed; }); };
  EXPECT_EQ(look(s())->record.state(), State::PLANNED);
  EXPECT_THAT(t().active([&] { ++list_changed; }), ElementsAre(id));
  auto prepared = t().prepare(*planned);
  ASSERT_TRUE(prepared);
  EXPECT_TRUE(eventually([&] { return changed == 1; }));
  EXPECT_EQ(look(t())->record.state(), State::PREPARED);
  ASSERT_TRUE(s().begin(*prepared));
  EXPECT_TRUE(eventually([&] { return changed == 2; }));
  EXPECT_EQ(look(s())->record.state(), State::MOVING);
  EXPECT_EQ(list_changed, 1);  // a move that changes neither comes nor goes
  ASSERT_TRUE(t().abort(id));
  EXPECT_TRUE(eventually([&] { return changed == 3 && list_changed == 2; }));
  EXPECT_EQ(look(s())->record.state(), State::ABORTED);
}

TEST_P(MovesTest, AGroupMovesAsOne) {
  const auto members = group(static_cast<int>(kMaxMembers));
  auto moving = s().move_in(State::MOVING, members);
  ASSERT_TRUE(moving) << moving.error().message;
  auto seen = t().get_with_members(moving->entry.record.id());
  ASSERT_TRUE(seen);
  ASSERT_EQ(seen->members.size(), kMaxMembers);
  auto commit = MoveAgent::commit_of(*seen);
  for (std::size_t i = 0; i < kMaxMembers; ++i) {
    EXPECT_EQ(seen->members[i].record.slot(), members[i].record.slot());
    commit.engine_addresses[i] = "new " + std::to_string(i);
  }
  auto committed =
      t().wait<Move>([&](auto done) { t().moves.commit(*seen, commit, soon(), done); });
  ASSERT_TRUE(committed) << committed.error().message;
  for (std::size_t i = 0; i < kMaxMembers; ++i) {
    const auto now = s().endpoint(members[i].record.slot());
    ASSERT_TRUE(now);
    EXPECT_EQ(now->record.epoch(), 2U);
    EXPECT_EQ(now->record.engine_address(), "new " + std::to_string(i));
  }
}

TEST_P(MovesTest, ThePastIsTrimmedToTheNewest) {
  auto members = group(1);
  std::vector<std::uint64_t> ended;
  for (std::size_t i = 0; i < kPastMoves + 5; ++i) {
    auto planned = s().plan(members);
    ASSERT_TRUE(planned) << planned.error().message;
    const std::uint64_t id = planned->entry.record.id();
    ended.push_back(id);
    auto aborted = s().abort(id);
    ASSERT_TRUE(aborted) << aborted.error().message;
    members = aborted->members;
  }
  ASSERT_TRUE(eventually([&] { return s().past().size() == kPastMoves; }));
  // The folder's order is the ids', newest first; so is a short list's.
  const auto kept = s().past();
  EXPECT_TRUE(std::is_sorted(kept.rbegin(), kept.rend()));
  EXPECT_EQ(s().past(3), std::vector<std::uint64_t>(kept.begin(), kept.begin() + 3));
  std::sort(ended.rbegin(), ended.rend());
  EXPECT_EQ(kept.front(), ended.front());
  EXPECT_EQ(code_of(s().get(ended.back())), Errc::no_node);
}

INSTANTIATE_TEST_SUITE_P(Local, MovesTest,
                         ::testing::Values(BackendKind{"Local", make_local_backend}));
INSTANTIATE_TEST_SUITE_P(RealZooKeeper, MovesTest,
                         ::testing::Values(BackendKind{"ZooKeeper", make_zookeeper_backend}));

}  // namespace
}  // namespace godwit::coord
