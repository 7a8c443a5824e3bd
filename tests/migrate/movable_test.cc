// Movable over the real link and fabric: moves that go well, and what create() and the end do.
#include "godwit/movable.h"

#include <gtest/gtest.h>

#include "migrate/movable_fixture.h"

namespace godwit::migrate_tests {
namespace {

class MovableTransportTest : public MovableTest,
                             public ::testing::WithParamInterface<TransportKind> {};

// Pages change while they are copied, and clients call and send all along.
TEST_P(MovableTransportTest, AGroupMovesAboutWhileItsClientsGoOn) {
  const std::vector<std::string> names = {"demo/a", "demo/b"};
  const ServerOptions options = {.names = names, .pages = 1024, .transport = GetParam()};
  auto a = start(options);
  auto b = start_standby(options);
  std::size_t changes = 0;
  a->ledger().while_saving = [&] {
    // Late in the first round, what was saved early changes: as much as is worth a second one.
    if (a->ledger().unsaved() > 256 * Ledger::kPage) return;
    while (changes < 256) a->ledger().touch(changes++);
  };
  Client first(agent_.run(), 0, names, GetParam());
  Client second(agent_.run(), 1, names, GetParam());
  ASSERT_TRUE(first.wait_more(20) && second.wait_more(20));

  const Ends ends = move(1, *a, *b, 1, names);
  ASSERT_TRUE(b->wait_serving(1));
  EXPECT_TRUE(first.wait_more(20) && second.wait_more(20));
  EXPECT_EQ(b->ledger().loaded_hash, a->ledger().saved_hash);
  EXPECT_EQ(a->ledger().begun.value(), 1u);
  EXPECT_EQ(changes, 256u);

  const std::uint64_t state = 1024 * Ledger::kPage;
  const auto& progress = ends.converged.progress();
  EXPECT_GE(progress.rounds(), 2u);
  EXPECT_GT(progress.bytes_sent(), state);
  EXPECT_LE(progress.bytes_left(), 64u << 10);
  EXPECT_GT(progress.bytes_per_second(), 0u);
  ASSERT_EQ(ends.restored.engine_addresses_size(), 2);
  EXPECT_GT(ends.restored.times().restored_us(), 0u);
  EXPECT_GE(ends.target.times().target_blackout_us(), ends.restored.times().restored_us());
  const auto& times = ends.source.times();
  EXPECT_GT(times.copied_us(), 0u);
  EXPECT_GT(times.transferred_us(), 0u);
  EXPECT_EQ(times.blackout_us(), 0u);  // the target alone knows when it was over
  EXPECT_GE(ends.source.progress().bytes_sent(), state + 256 * Ledger::kPage);

  // And back: it was told to forget, and stands by.
  EXPECT_EQ(agent_.next_stand_by(a->id()).move(), 0u);
  EXPECT_TRUE(a->ledger().resets.wait(1));
  move(2, *b, *a, 2, names);
  ASSERT_TRUE(a->wait_serving(2));
  EXPECT_TRUE(first.wait_more(20) && second.wait_more(20));
  EXPECT_EQ(a->ledger().loaded_hash, b->ledger().saved_hash);

  const std::uint64_t rounds[] = {first.stop(), second.stop()};
  a->stop();
  b->stop();
  EXPECT_EQ(a->ledger().wrong.value() + b->ledger().wrong.value(), 0u);
  EXPECT_EQ(a->executed.value() + b->executed.value(), (rounds[0] + rounds[1]) * 2 * names.size());
  for (std::uint32_t client = 0; client < 2; ++client) {
    for (std::uint32_t endpoint = 0; endpoint < 2; ++endpoint) {
      EXPECT_EQ(a->ledger().last(Operation::add, endpoint, client), rounds[client]);
      EXPECT_EQ(a->ledger().last(Operation::note, endpoint, client), rounds[client]);
    }
  }
}

TEST_P(MovableTransportTest, AServerWithoutAStateMovesWithNoCode) {
  const ServerOptions options = {.pages = 0, .transport = GetParam()};
  auto a = start(options);
  auto b = start_standby(options);
  Client client(agent_.run(), 0, {"demo/kv"}, GetParam());
  ASSERT_TRUE(client.wait_more(5));
  move(1, *a, *b, 1);
  ASSERT_TRUE(b->wait_serving(1));
  EXPECT_TRUE(client.wait_more(5));
  EXPECT_EQ(agent_.place("demo/kv").process, b->id());
  const std::uint64_t rounds = client.stop();
  EXPECT_EQ(a->executed.value() + b->executed.value(), 2 * rounds);
}

TEST_P(MovableTransportTest, AGrantIsGoodAtTheNewPlaceOnceItHasItsMemory) {
  auto a = start({.transport = GetParam()});
  auto b = start_standby({.transport = GetParam()});
  Hand client(agent_.run(), GetParam());
  const Operation ask{Operation::grant, 0, 0};
  auto reply = client.endpoint().call("demo/kv", std::as_bytes(std::span(&ask, 1)), kLong);
  ASSERT_TRUE(reply) << reply.error().to_string();
  const auto ref = GrantRef::from_bytes(reply->payload());
  ASSERT_TRUE(ref);
  b->ledger().when_loaded = [&](Movable& movable) {
    EXPECT_FALSE(movable.serving());
    EXPECT_EQ(movable.endpoint().name(), "demo/kv");
    return movable.endpoint().regrant(*ref, b->ledger().page(0));
  };
  move(1, *a, *b, 1);
  ASSERT_TRUE(b->wait_serving(1));
  std::vector<std::byte> local(Ledger::kPage, std::byte{7});
  auto copied = client.endpoint().copy_to(*ref, 0, local, kLong);
  ASSERT_TRUE(copied) << copied.error().to_string();
  std::vector<std::byte> again(Ledger::kPage);
  copied = client.endpoint().copy_from(*ref, 0, again, kLong);
  ASSERT_TRUE(copied) << copied.error().to_string();
  EXPECT_EQ(again, local);
  b->stop();
  EXPECT_EQ(b->ledger().page(0)[5], std::byte{7});
}

INSTANTIATE_TEST_SUITE_P(Transports, MovableTransportTest,
                         ::testing::Values(TransportKind::shm, TransportKind::tcp),
                         [](const auto& param) {
                           return std::string(fabric::to_string(param.param));
                         });

// More than the window of the channel to the dock, and nobody reads there.
TEST_F(MovableTest, ALargeStateWaitsForItsReaderWhileTheServerServes) {
  constexpr std::size_t kPages = 96u << 20 >> 12;
  auto a = start({.pages = kPages});
  Client client(agent_.run(), 0, {"demo/kv"});
  ASSERT_TRUE(client.wait_more(1));
  Hand hand(agent_.run());
  copy(*a, 1, 1, hand.id());
  ASSERT_TRUE(a->ledger().put_bytes.wait(60u << 20));
  ASSERT_TRUE(client.wait_more(200));
  // Asked, it says how far it is: what it has saved and could not send is little.
  const std::uint64_t window = std::uint64_t{kChannelWindow} * (256 << 10);
  agent_.order(a->id(), 1, Push::out, 1, hand.id());
  const MoveReport stalled = agent_.expect(a->id(), 1, Report::copying);
  EXPECT_LE(stalled.progress().bytes_sent(), window);
  EXPECT_LE(a->ledger().put_bytes.value(), window + (1u << 20));
  ASSERT_TRUE(client.wait_more(200));
  EXPECT_LE(a->ledger().put_bytes.value(), window + (1u << 20));

  std::jthread agent([&] {
    (void)agent_.expect(a->id(), 1, Report::converged);
    agent_.order(a->id(), 1, Push::close);
  });
  std::uint64_t bytes = 0;
  for (const std::string& piece : hand.take(1)) bytes += piece.size();
  EXPECT_GT(bytes, kPages * Ledger::kPage);
  agent.join();
  agent_.raise({"demo/kv"}, 2);
  agent_.order(a->id(), 1, Push::resume, 2);
  agent_.expect(a->id(), 1, Report::over);
  EXPECT_TRUE(client.wait_more(5));
  client.stop();
  EXPECT_EQ(a->ledger().wrong.value(), 0u);
}

TEST_F(MovableTest, CreateSaysWhatCannotMove) {
  auto alone = Process::embedded();
  ASSERT_TRUE(alone);
  auto made = Movable::create(**alone, {.program = "kv", .names = {"demo/kv"}});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::not_supported);
  EXPECT_NE(made.error().message.find("attach"), std::string::npos);

  Hand hand(agent_.run());
  const std::vector<std::vector<std::string>> wrong = {
      {}, {"demo/a", "other/b"}, {"demo/a", "no-dc"}, {""}};
  for (const auto& names : wrong) {
    made = Movable::create(hand.process(), {.program = "kv", .names = names});
    ASSERT_FALSE(made) << ::testing::PrintToString(names);
    EXPECT_EQ(made.error().code, Errc::invalid_argument);
  }
}

TEST_F(MovableTest, ServeBindsOnceTheNameIsFree) {
  auto a = start();
  Hand hand(agent_.run());
  auto made = Movable::create(hand.process(), {.program = "kv", .names = {"demo/free", "demo/kv"}});
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->serve(kLong).error().code, Errc::name_taken);
  EXPECT_FALSE((*made)->serving());
  a.reset();
  auto here = (*made)->serve(kLong);
  ASSERT_TRUE(here) << here.error().to_string();
  EXPECT_TRUE((*made)->serving());
  EXPECT_EQ((*made)->size(), 2u);
  EXPECT_TRUE((*made)->serve(kLong));  // it serves here already
  EXPECT_EQ(agent_.place("demo/kv").process, hand.process().resolver().process());
  made->reset();
  EXPECT_TRUE(agent_.wait_unbound({1, 1, 1}));
}

TEST_F(MovableTest, AtItsEndItStandsByNoMore) {
  auto a = start_standby();
  const ProcessId process = a->id();
  a->stop();
  const StandBy withdrawn = agent_.next_stand_by(process);
  EXPECT_TRUE(withdrawn.withdraw());
  EXPECT_EQ(withdrawn.program(), "kv");
  EXPECT_EQ(agent_.stand_bys_left(process), 0u);

  Hand hand(agent_.run());
  auto made =
      Movable::create(hand.process(), {.program = "kv", .names = {"demo/kv"}, .stand_by = true});
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->serve(1ms).error().code, Errc::deadline_exceeded);
  const ProcessId own = hand.process().resolver().process();
  EXPECT_FALSE(agent_.next_stand_by(own).withdraw());
  made->reset();
  EXPECT_TRUE(agent_.next_stand_by(own).withdraw());
  EXPECT_EQ(agent_.stand_bys_left(own), 0u);
}

}  // namespace
}  // namespace godwit::migrate_tests
