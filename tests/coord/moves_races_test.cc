// Who wins when the ends of a move are written at the same time, and what becomes of one
// whose answer is lost.
#include "coord/cutting_proxy.h"
#include "coord/moves_fixture.h"
#include "support/zookeeper_server.h"

#include <godwit/coord/zookeeper_coordinator.h>

#include <future>
#include <optional>
#include <random>

namespace godwit::coord {
namespace {

using namespace std::chrono_literals;
using test_support::ZooKeeperServer;

class MoveRacesTest : public MovesFixture {};

TEST_P(MoveRacesTest, ExactlyOneOfCommitAbortAndDeadWins) {
  auto watcher = open();  // a third agent, which takes the source for dead
  ASSERT_TRUE(watcher);
  std::mt19937 random(7);
  int commits = 0;
  int aborts = 0;
  constexpr int kRounds = 60;
  for (int i = 0; i < kRounds; ++i) {
    auto moving = s().move_in(State::MOVING, group(2));
    ASSERT_TRUE(moving) << moving.error().message;
    const std::uint64_t id = moving->entry.record.id();
    const auto& victim = moving->members[random() % 2].record;
    const bool with_death = i % 2 == 0;

    std::promise<Result<Move>> commit;
    std::promise<Result<Move>> abort;
    std::promise<Result<void>> death;
    const auto start_commit = [&] {
      t().moves.commit(*moving, MoveAgent::commit_of(*moving), soon(),
                       [&](auto r) { commit.set_value(std::move(r)); });
    };
    const auto start_abort = [&] {
      s().moves.abort(id, MoveAgent::why("race"), soon(),
                      [&](auto r) { abort.set_value(std::move(r)); });
    };
    // The abort reads before it writes, so it goes first; by how many reads of the
    // committer is drawn, so that each of them wins at times.
    const int lag = static_cast<int>(random() % 4);
    start_abort();
    if (with_death)
      watcher->directory.mark_dead("demo", victim.slot(), victim.generation(),
                                   MoveAgent::kSourceProcess, soon(),
                                   [&](auto r) { death.set_value(std::move(r)); });
    for (int read = 0; read < lag; ++read) ASSERT_TRUE(t().endpoint(victim.slot()));
    start_commit();
    const auto committed = commit.get_future().get();
    const auto aborted = abort.get_future().get();
    std::optional<Result<void>> died;
    if (with_death) died = death.get_future().get();

    ASSERT_NE(committed.has_value(), aborted.has_value()) << i;
    commits += committed.has_value();
    aborts += aborted.has_value();
    if (!committed) {
      EXPECT_TRUE(committed.error().code == Errc::bad_version ||
                  committed.error().code == Errc::no_node)
          << committed.error().message;
    }
    if (!aborted) {
      EXPECT_EQ(aborted.error().code, Errc::no_node) << aborted.error().message;
    }
    // A process that has handed its endpoints over can die without them.
    if (died) {
      EXPECT_EQ(died->has_value(), !committed.has_value());
    }
    EXPECT_TRUE(s().active().empty());
    EXPECT_EQ(s().get(id)->record.state(), committed ? State::COMMITTED : State::ABORTED);
    for (const auto& member : moving->members) {
      const auto now = s().endpoint(member.record.slot());
      ASSERT_TRUE(now);
      EXPECT_FALSE(now->record.has_migration());
      const bool victim_died = died && !committed && member.record.slot() == victim.slot();
      EXPECT_EQ(now->record.state(), victim_died ? proto::DEAD : proto::SERVING);
      EXPECT_TRUE(now->record.epoch() == 2U || victim_died);
      EXPECT_EQ(now->record.owner().process(),
                committed ? MoveAgent::kTargetProcess : MoveAgent::kSourceProcess);
    }
  }
  RecordProperty("commits", commits);
  RecordProperty("aborts", aborts);
  EXPECT_EQ(commits + aborts, kRounds);
}

// An abort that was decided before the intent, and the intent.
TEST_P(MoveRacesTest, AnAbortAndAnIntentAgreeOnTheEpoch) {
  for (int i = 0; i < 30; ++i) {
    auto prepared = s().move_in(State::PREPARED, group(1));
    ASSERT_TRUE(prepared);
    std::promise<Result<Move>> begin;
    std::promise<Result<Move>> abort;
    t().moves.abort(prepared->entry.record.id(), MoveAgent::why("race"), soon(),
                    [&](auto r) { abort.set_value(std::move(r)); });
    s().moves.begin(*prepared, soon(), [&](auto r) { begin.set_value(std::move(r)); });
    const auto began = begin.get_future().get();
    const auto aborted = abort.get_future().get();
    ASSERT_TRUE(aborted) << aborted.error().message;
    const auto now = s().endpoint(prepared->members[0].record.slot());
    EXPECT_EQ(now->record.state(), proto::SERVING);
    EXPECT_EQ(now->record.epoch(), began ? 2U : 1U);
  }
}

TEST_P(MoveRacesTest, OneOfTwoPlansTakesAnEndpoint) {
  for (int i = 0; i < 30; ++i) {
    const auto members = group(3);
    std::promise<Result<Move>> one;
    std::promise<Result<Move>> other;
    // They share the one in the middle.
    s().moves.plan(MoveAgent::plan_of({members[0], members[1]}), soon(),
                   [&](auto r) { one.set_value(std::move(r)); });
    t().moves.plan(MoveAgent::plan_of({members[1], members[2]}), soon(),
                   [&](auto r) { other.set_value(std::move(r)); });
    const auto first = one.get_future().get();
    const auto second = other.get_future().get();
    ASSERT_NE(first.has_value(), second.has_value());
    EXPECT_EQ(code_of(first ? second : first), Errc::endpoint_stale);
    const auto& left = members[first ? 2 : 0].record;
    EXPECT_FALSE(s().endpoint(left.slot())->record.has_migration());
    ASSERT_TRUE(s().abort((first ? first : second)->entry.record.id()));
  }
}

INSTANTIATE_TEST_SUITE_P(Local, MoveRacesTest,
                         ::testing::Values(BackendKind{"Local", make_local_backend}));
INSTANTIATE_TEST_SUITE_P(RealZooKeeper, MoveRacesTest,
                         ::testing::Values(BackendKind{"ZooKeeper", make_zookeeper_backend}));

// An agent whose connection is cut under the intent and under the commit, after the request
// has reached the server: the answer is true, and is given.
TEST(RealZooKeeperMoves, AStepWhoseAnswerIsCutOffIsSettled) {
  if (auto reason = ZooKeeperServer::unavailable()) GTEST_SKIP() << *reason;
  auto server = ZooKeeperServer::start();
  ASSERT_NE(server, nullptr);
  CuttingProxy proxy(server->port());
  const auto open = [](const std::string& servers) -> std::unique_ptr<MoveAgent> {
    ZooKeeperOptions options;
    options.servers = servers;
    options.session_timeout = 8s;
    auto opened = ZooKeeperCoordinator::open(std::move(options));
    if (!opened || !eventually([&] { return (*opened)->connected(); })) return nullptr;
    return std::make_unique<MoveAgent>(std::move(*opened));
  };
  const auto source = open(server->address());
  const auto target = open(proxy.address());
  ASSERT_TRUE(source && target);
  ASSERT_TRUE(source->wait<void>([&](auto done) { source->directory.prepare(soon(), done); }));
  DcRequest dc;
  dc.name = "demo";
  ASSERT_TRUE(
      source->wait<DcEntry>([&](auto done) { source->directory.create_dc(dc, soon(), done); }));
  ASSERT_TRUE(target->enroll("target", MoveAgent::kTargetIncarnation));

  std::mt19937 random(5);
  constexpr int kMoves = 8;
  for (int i = 0; i < kMoves; ++i) {
    std::vector<EndpointEntry> members;
    for (int m = 0; m < 2; ++m)
      members.push_back(*source->bind("m" + std::to_string(i) + "/" + std::to_string(m)));
    auto prepared = source->move_in(State::PREPARED, members);
    ASSERT_TRUE(prepared) << prepared.error().message;
    // Less than an intent or a commit of two, so that the cut does come.
    proxy.cut_after(1 + random() % 500);
    const auto moving = target->begin(*prepared);
    ASSERT_TRUE(moving) << i << ": " << moving.error().message;
    proxy.cut_after(1 + random() % 500);
    const auto committed = target->commit(*moving);
    ASSERT_TRUE(committed) << i << ": " << committed.error().message;
    EXPECT_EQ(proxy.cuts(), 2 * (i + 1));
    EXPECT_EQ(source->get(moving->entry.record.id())->record.state(), State::COMMITTED);
    for (std::size_t m = 0; m < members.size(); ++m) {
      const auto now = source->endpoint(members[m].record.slot());
      ASSERT_TRUE(now);
      EXPECT_EQ(now->record.state(), proto::SERVING);
      EXPECT_EQ(now->record.epoch(), 2U);
      // Each was written once, not once an issue, and the answer can be gone on with.
      EXPECT_EQ(now->stat.version, prepared->members[m].stat.version + 2);
      EXPECT_EQ(committed->members[m].stat.version, now->stat.version);
    }
  }
}

}  // namespace
}  // namespace godwit::coord
