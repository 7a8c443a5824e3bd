// Movable when something fails: the program, the way, the other process, the stream.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>

#include "migrate/movable_fixture.h"
#include "state_stream.h"

namespace godwit::migrate_tests {
namespace {

using Fault = Ledger::Fault;

class MovableFailuresTest : public MovableTest {
 protected:
  /// The source goes on, also after the gate was shut; then it moves.
  void expect_goes_on(Server& a, Epoch epoch, bool shut) {
    if (shut) agent_.raise({"demo/kv"}, ++epoch);
    agent_.order(a.id(), 1, Push::resume, epoch);
    agent_.expect(a.id(), 1, Report::over);
    Client client(agent_.run(), 0, {"demo/kv"});
    EXPECT_TRUE(client.wait_more(3));
    a.ledger().fault = Fault::none;
    auto b = start_standby({.pages = a.ledger().pages()});
    move(99, a, *b, epoch);
    EXPECT_TRUE(b->wait_serving(1));
    EXPECT_TRUE(client.wait_more(3));
    client.stop();
    EXPECT_EQ(a.ledger().wrong.value() + b->ledger().wrong.value(), 0u);
    EXPECT_EQ(agent_.foreign_unbinds(), 0u);
  }
  /// The target has failed, says so again, and can be used again once it was told to drop.
  void expect_dropped(Server& b, Reason reason, const std::string& text, EndpointId dock) {
    const MoveReport cannot = agent_.expect(b.id(), 1, Report::cannot, reason);
    EXPECT_NE(cannot.text().find(text), std::string::npos) << cannot.text();
    EXPECT_EQ(b.ledger().resets.value(), 1u);
    for (const Push push : {Push::in, Push::go}) {
      agent_.order(b.id(), 1, push, 5);
      agent_.expect(b.id(), 1, Report::cannot, reason);
    }
    EXPECT_EQ(agent_.stand_bys_left(b.id()), 0u);
    agent_.order(b.id(), 1, Push::drop, 0);
    agent_.expect(b.id(), 1, Report::over);
    EXPECT_TRUE(agent_.wait_unbound(dock));
    agent_.next_stand_by(b.id());
    EXPECT_EQ(b.arrivals.value(), 0u);
    agent_.order(b.id(), 2, Push::in);
    agent_.expect(b.id(), 2, Report::docked);
  }
};

// --- the program

TEST_F(MovableFailuresTest, AStateThatCannotBeSaved) {
  auto a = start();
  Hand hand(agent_.run());
  a->ledger().fault = Fault::save;
  copy(*a, 1, 1, hand.id());
  const MoveReport cannot = agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  EXPECT_NE(cannot.text().find("no luck"), std::string::npos) << cannot.text();
  agent_.order(a->id(), 1, Push::close);  // nothing to close for
  agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  {
    Client client(agent_.run(), 1, {"demo/kv"});
    EXPECT_TRUE(client.wait_more(3));
  }
  expect_goes_on(*a, 1, false);
}

TEST_F(MovableFailuresTest, ARestThatCannotBeSaved) {
  auto a = start();
  Hand hand(agent_.run());
  a->ledger().fault = Fault::rest;
  converge(*a, hand, 1);
  agent_.order(a->id(), 1, Push::close);
  const MoveReport cannot = agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  EXPECT_NE(cannot.text().find("no luck"), std::string::npos) << cannot.text();
  agent_.order(a->id(), 1, Push::resume, 1);  // the gate is shut: not at this epoch
  agent_.expect_silence(a->id());
  expect_goes_on(*a, 1, true);
}

struct Refusal {
  const char* name;
  Fault fault;
  std::uint32_t format;
  const char* text;
};

class MovableRefusalTest : public MovableFailuresTest,
                           public ::testing::WithParamInterface<Refusal> {};

TEST_P(MovableRefusalTest, TheTextOfTheProgramIsReported) {
  auto a = start();
  Hand hand(agent_.run());
  const Hand::Pieces state = park(*a, hand, 1);
  auto b = start_standby();
  b->ledger().fault = GetParam().fault;
  b->ledger().format = GetParam().format;
  const EndpointId docked = dock(*b, 1);
  hand.send(docked, state, [&] { return agent_.has_report(b->id()); });
  expect_dropped(*b, Reason::load_failed, GetParam().text, docked);
  expect_goes_on(*a, 1, true);
}

TEST_P(MovableRefusalTest, TheSourceGoesOnWithWhatWasNotTaken) {
  auto a = start();
  auto b = start_standby();
  b->ledger().fault = GetParam().fault;
  b->ledger().format = GetParam().format;
  const EndpointId docked = dock(*b, 1);
  copy(*a, 1, 1, docked);
  if (GetParam().fault == Fault::loaded) {
    agent_.expect(a->id(), 1, Report::converged);
    agent_.order(a->id(), 1, Push::close);
  }
  expect_dropped(*b, Reason::load_failed, GetParam().text, docked);
  // Whether the source has seen that the dock is gone is a race: it goes on at any rate.
  agent_.raise({"demo/kv"}, 2);
  agent_.order(a->id(), 1, Push::resume, 2);
  while (const auto report = agent_.next_report(a->id())) {
    if (static_cast<Report>(report->report()) == Report::over) break;
  }
  expect_goes_on(*a, 2, false);
}

INSTANTIATE_TEST_SUITE_P(Programs, MovableRefusalTest,
                         ::testing::Values(Refusal{"load", Fault::load, 1, "no luck"},
                                           Refusal{"loaded", Fault::loaded, 1, "no luck"},
                                           Refusal{"version", Fault::none, 2,
                                                   "a format that is not mine"}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST_F(MovableFailuresTest, AStateForAProgramThatHasNone) {
  auto a = start();
  Hand hand(agent_.run());
  const Hand::Pieces state = park(*a, hand, 1);
  auto b = start_standby({.pages = 0});
  hand.send(dock(*b, 1), state, [&] { return agent_.has_report(b->id()); });
  const MoveReport cannot = agent_.expect(b->id(), 1, Report::cannot, Reason::load_failed);
  EXPECT_NE(cannot.text().find("no state"), std::string::npos) << cannot.text();
  expect_goes_on(*a, 1, true);
}

// --- the way, and the other process

TEST_F(MovableFailuresTest, NoDock) {
  auto a = start();
  copy(*a, 1, 1, {1, 4711, 1});
  agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  expect_goes_on(*a, 1, false);
}

// All was sent, and it waits for what the dock has not taken.
TEST_F(MovableFailuresTest, TheDockEndsBeforeItHasTakenTheState) {
  auto a = start();
  Hand hand(agent_.run());
  copy(*a, 1, 1, hand.id());
  agent_.expect(a->id(), 1, Report::copying);
  hand.unbind();
  agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  expect_goes_on(*a, 1, false);
}

TEST_F(MovableFailuresTest, TheDockEndsWhileThereIsAlwaysMoreToSend) {
  auto a = start({.pages = 1024, .limits = {.rounds = 1u << 30}});
  a->ledger().while_saving = [&] {
    for (std::size_t i = 0; i < 1024; ++i) a->ledger().touch(i);
  };
  Hand hand(agent_.run());
  copy(*a, 1, 1, hand.id());
  ASSERT_TRUE(a->ledger().put_bytes.wait(16u << 20));
  hand.unbind();
  agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  a->ledger().fault = Fault::rest;  // not asked for
  Client client(agent_.run(), 0, {"demo/kv"});
  EXPECT_TRUE(client.wait_more(3));
  agent_.order(a->id(), 1, Push::resume, 1);
  agent_.expect(a->id(), 1, Report::over);
  EXPECT_TRUE(client.wait_more(3));
}

TEST_F(MovableFailuresTest, TheDockEndsWhenLittleIsLeft) {
  auto a = start();
  Hand hand(agent_.run());
  converge(*a, hand, 1);
  hand.unbind();
  agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  agent_.order(a->id(), 1, Push::close);
  agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  expect_goes_on(*a, 1, false);
}

TEST_F(MovableFailuresTest, TheTargetsThreadEndsInMidCopy) {
  auto a = start({.pages = 64, .limits = {.rounds = 1u << 30}});
  auto b = start_standby({.pages = 64});
  const EndpointId docked = dock(*b, 1);
  a->ledger().while_saving = [&] {
    // Until the dock is gone there is more to send than is little.
    if (agent_.gone(docked)) return;
    for (std::size_t i = 0; i < 64; ++i) a->ledger().touch(i);
  };
  copy(*a, 1, 1, docked);
  agent_.expect(a->id(), 1, Report::copying);
  b.reset();
  const MoveReport cannot = agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  EXPECT_FALSE(cannot.text().empty());
  expect_goes_on(*a, 1, false);
}

/// The program of the process that is killed below.
TEST(MovableChild, DISABLED_ChildStandsBy) {
  const char* run = std::getenv("GODWIT_RUN");
  ASSERT_NE(run, nullptr);
  Server server(run, {.stand_by = true});
  std::getchar();  // its parent kills it
}

TEST_F(MovableFailuresTest, TheTargetsProcessIsKilledInMidCopy) {
  auto a = start();
  ::setenv("GODWIT_RUN", agent_.run().c_str(), 1);
  auto child = std::make_unique<test_support::ChildProcess>(
      std::vector<std::string>{"/proc/self/exe", "--gtest_also_run_disabled_tests",
                               "--gtest_filter=MovableChild.DISABLED_ChildStandsBy"});
  ::unsetenv("GODWIT_RUN");
  const ProcessId target = agent_.next_newcomer({a->id()});
  EXPECT_EQ(agent_.next_stand_by(target).program(), "kv");
  agent_.order(target, 1, Push::in);
  const EndpointId docked = dock_of(agent_.expect(target, 1, Report::docked));
  // It does not take what it is sent: stopped, then killed.
  ::kill(child->pid(), SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(child->pid(), &status, WUNTRACED), child->pid());
  ASSERT_TRUE(WIFSTOPPED(status));
  copy(*a, 1, 1, docked);
  agent_.expect(a->id(), 1, Report::copying);
  child->kill();
  agent_.bury(target);
  agent_.expect(a->id(), 1, Report::cannot, Reason::transfer_failed);
  expect_goes_on(*a, 1, false);
}

TEST_F(MovableFailuresTest, TheSourceEndsInMidTransfer) {
  auto a = start();
  auto hand = std::make_unique<Hand>(agent_.run());
  Hand::Pieces state = park(*a, *hand, 1);
  state.back().resize(state.back().size() / 2);
  auto b = start_standby();
  const EndpointId docked = dock(*b, 1);
  hand->send(docked, state);
  hand.reset();
  agent_.order(b->id(), 1, Push::in);  // it waits for the rest
  agent_.expect(b->id(), 1, Report::docked);
  a.reset();
  agent_.order(b->id(), 1, Push::drop, migrate::kOver);
  agent_.expect(b->id(), 1, Report::over);
  EXPECT_TRUE(agent_.wait_unbound(docked));
  agent_.next_stand_by(b->id());
  EXPECT_EQ(b->ledger().resets.value(), 1u);
  EXPECT_EQ(b->arrivals.value(), 0u);
  // Whose process has ended is bound anew elsewhere.
  auto again = start();
  move(2, *again, *b, 1);
  EXPECT_TRUE(b->wait_serving(1));
}

// --- the stream

struct Damage {
  const char* name;
  Reason reason;
  const char* text;
  std::function<void(Hand::Pieces&)> harm;
};

class MovableDamageTest : public MovableFailuresTest,
                          public ::testing::WithParamInterface<Damage> {};

TEST_P(MovableDamageTest, IsFoundAndTheSourceGoesOn) {
  auto a = start({.pages = 256});
  Hand hand(agent_.run());
  Hand::Pieces state = park(*a, hand, 1);
  ASSERT_GT(state.size(), 3u);
  auto b = start_standby({.pages = 256});
  GetParam().harm(state);
  const EndpointId docked = dock(*b, 1);
  hand.send(docked, state, [&] { return agent_.has_report(b->id()); });
  expect_dropped(*b, GetParam().reason, GetParam().text, docked);
  agent_.raise({"demo/kv"}, 2);
  agent_.order(a->id(), 1, Push::resume, 2);
  agent_.expect(a->id(), 1, Report::over);
  Client client(agent_.run(), 0, {"demo/kv"});
  EXPECT_TRUE(client.wait_more(3));
  client.stop();
  EXPECT_EQ(agent_.foreign_unbinds(), 0u);
}

/// A stream that is well formed and says so.
Hand::Pieces well_formed(const std::function<void(migrate::StreamWriter&)>& fill) {
  migrate::StreamWriter writer(1);
  writer.item(migrate::ItemType::version, 1, {});
  fill(writer);
  writer.manifest(1, 1);
  Hand::Pieces pieces;
  for (Bytes piece = writer.piece(0); !piece.empty(); piece = writer.piece(0)) {
    pieces.emplace_back(text_of(piece));
    writer.sent();
  }
  return pieces;
}

INSTANTIATE_TEST_SUITE_P(
    Streams, MovableDamageTest,
    ::testing::Values(
        Damage{"AByteOfAPage", Reason::bad_manifest, "does not fit its manifest",
               [](auto& pieces) { pieces[1][1000] = static_cast<char>(pieces[1][1000] ^ 1); }},
        Damage{"TheHashOfTheManifest", Reason::bad_manifest, "does not fit its manifest",
               [](auto& pieces) {
                 pieces.back().back() = static_cast<char>(pieces.back().back() ^ 1);
               }},
        Damage{"AMissingPiece", Reason::bad_manifest, "a message is missing",
               [](auto& pieces) { pieces.erase(pieces.begin() + 1); }},
        Damage{"APieceTwice", Reason::bad_manifest, "a message is missing",
               [](auto& pieces) { pieces.insert(pieces.begin() + 1, pieces[1]); }},
        Damage{"APieceOfAnotherMove", Reason::bad_manifest, "another move",
               [](auto& pieces) { pieces[0][0] = 2; }},
        Damage{"AShortPiece", Reason::bad_manifest, "a short message",
               [](auto& pieces) { pieces[2].resize(7); }},
        Damage{"NoEndpoint", Reason::bad_manifest, "not all endpoints arrived",
               [](auto& pieces) { pieces = well_formed([](auto&) {}); }},
        Damage{"NoImage", Reason::bad_manifest, "image is damaged",
               [](auto& pieces) {
                 pieces = well_formed([](auto& writer) {
                   writer.item(migrate::ItemType::image, 0, bytes_of("nonsense"));
                 });
               }},
        Damage{"AnItemOfUnknownType", Reason::bad_manifest, "unknown type",
               [](auto& pieces) {
                 pieces = well_formed(
                     [](auto& writer) { writer.item(static_cast<migrate::ItemType>(99), 0, {}); });
               }}),
    [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace godwit::migrate_tests
