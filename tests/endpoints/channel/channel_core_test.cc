#include "channel/channel_core.h"

#include <gtest/gtest.h>

namespace godwit::channel {
namespace {

using State = ChannelCore::State;

constexpr std::uint64_t kLineageA = 11;
constexpr std::uint64_t kLineageB = 22;
constexpr std::uint32_t kIndexA = 5;
constexpr std::uint32_t kIndexB = 6;

/// Two ends of a channel; `a` is the smaller endpoint.
class ChannelCoreTest : public testing::Test {
 protected:
  /// `from` starts a session, and `to` answers.
  static void attach(ChannelCore& from, std::uint32_t from_index, ChannelCore& to,
                     std::uint32_t to_index) {
    const AttachState start = from.start_session(from_index);
    ASSERT_EQ(to.on_attach(start).verdict, AttachVerdict::accept);
    ASSERT_EQ(from.on_attach_answer(to.report(to_index)).verdict, AttachVerdict::accept);
  }
  void attach() { attach(a, kIndexA, b, kIndexB); }

  /// `count` messages from a arrive at b.
  void transfer(int count) {
    for (int i = 0; i < count; ++i) {
      a.out(Stream::messages).accept();
      const Number number = a.out(Stream::messages).transmit();
      ASSERT_EQ(b.in(Stream::messages).on_frame(number), ReceiveWindow::Verdict::deliver);
    }
  }

  ChannelCore a{kLineageA, 1, true};
  ChannelCore b{kLineageB, 1, false};
};

TEST_F(ChannelCoreTest, ASessionTellsEachSideTheOther) {
  attach();
  EXPECT_TRUE(a.attached());
  EXPECT_TRUE(b.attached());
  EXPECT_EQ(a.session(), b.session());
  EXPECT_EQ(a.peer_index(), kIndexB);
  EXPECT_EQ(b.peer_index(), kIndexA);
  EXPECT_EQ(a.peer_lineage(), kLineageB);
  EXPECT_EQ(b.peer_epoch(), 1u);
}

TEST_F(ChannelCoreTest, ANewSessionSendsAgainWhatHasNotArrivedAndFreesWhatWasReceived) {
  attach();
  transfer(3);
  b.in(Stream::messages).on_taken(1);
  a.out(Stream::messages).accept();
  a.out(Stream::messages).transmit();  // lost with the connection
  a.on_detached();
  b.on_detached();

  const AttachState start = a.start_session(kIndexA);
  ASSERT_EQ(b.on_attach(start).verdict, AttachVerdict::accept);
  const ChannelCore::Effect effect = a.on_attach_answer(b.report(kIndexB));
  ASSERT_EQ(effect.verdict, AttachVerdict::accept);
  EXPECT_EQ(effect.freed[0], 1u);
  EXPECT_EQ(effect.resent[0], 1u);
  EXPECT_EQ(a.out(Stream::messages).transmit(), 4u);
}

TEST_F(ChannelCoreTest, OfTwoStartsAtOnceTheSmallerEndpointsWins) {
  const AttachState from_a = a.start_session(kIndexA);
  const AttachState from_b = b.start_session(kIndexB);
  EXPECT_EQ(a.on_attach(from_b).verdict, AttachVerdict::ignore);
  EXPECT_EQ(b.on_attach(from_a).verdict, AttachVerdict::accept);
  EXPECT_EQ(a.on_attach_answer(b.report(kIndexB)).verdict, AttachVerdict::accept);
  EXPECT_TRUE(a.attached());
  EXPECT_TRUE(b.attached());
}

TEST_F(ChannelCoreTest, TheWinnerOfATieWhoseConnectionBrokeSendsTheOtherOn) {
  a.start_session(kIndexA);
  a.on_detached();
  const AttachState from_b = b.start_session(kIndexB);
  ASSERT_EQ(a.on_attach(from_b).verdict, AttachVerdict::superseded);
  ASSERT_TRUE(b.on_superseded(a.session()));
  const AttachState again = b.start_session(kIndexB);
  EXPECT_EQ(a.on_attach(again).verdict, AttachVerdict::accept);
}

TEST_F(ChannelCoreTest, TheLoserOfATieWhoseConnectionBrokeYields) {
  b.start_session(kIndexB);
  b.on_detached();
  EXPECT_EQ(b.on_attach(a.start_session(kIndexA)).verdict, AttachVerdict::accept);
}

TEST_F(ChannelCoreTest, AnEarlierStartIsToldWhatIsKnownAndGoesAboveIt) {
  attach();
  ChannelCore late = b;  // does not see the sessions that follow
  for (int i = 0; i < 3; ++i) attach();
  const AttachState start = late.start_session(kIndexB);
  ASSERT_EQ(a.on_attach(start).verdict, AttachVerdict::superseded);
  EXPECT_TRUE(a.attached()) << "the present session goes on";
  ASSERT_TRUE(late.on_superseded(a.session()));
  EXPECT_EQ(late.state(), State::detached);
  EXPECT_EQ(a.on_attach(late.start_session(kIndexB)).verdict, AttachVerdict::accept);
}

TEST_F(ChannelCoreTest, ALateSupersededChangesNothing) {
  attach();
  const std::uint32_t session = a.session();
  EXPECT_FALSE(a.on_superseded(session + 5)) << "nothing was being started";
  a.on_detached();
  a.start_session(kIndexA);
  EXPECT_FALSE(a.on_superseded(session)) << "it is about an earlier start";
  EXPECT_EQ(a.state(), State::attaching);
}

TEST_F(ChannelCoreTest, AnAnswerToAnEarlierStartIsIgnored) {
  const AttachState first = a.start_session(kIndexA);
  ASSERT_EQ(b.on_attach(first).verdict, AttachVerdict::accept);
  const AttachState answer = b.report(kIndexB);
  a.start_session(kIndexA);
  EXPECT_EQ(a.on_attach_answer(answer).verdict, AttachVerdict::ignore);
  EXPECT_EQ(a.state(), State::attaching);
}

TEST_F(ChannelCoreTest, ARepeatedAttachDoesNotAttachAgain) {
  const AttachState start = a.start_session(kIndexA);
  ASSERT_EQ(b.on_attach(start).verdict, AttachVerdict::accept);
  EXPECT_EQ(b.on_attach(start).verdict, AttachVerdict::superseded);
  EXPECT_TRUE(b.attached());
}

TEST_F(ChannelCoreTest, ALowerEpochIsRefusedInEveryFrameThatCarriesOne) {
  attach();
  ChannelCore old_place = a;
  a.on_moved(2);
  attach();
  EXPECT_EQ(b.peer_epoch(), 2u);
  EXPECT_EQ(b.on_attach(old_place.start_session(kIndexA)).verdict, AttachVerdict::stale_epoch);
  EXPECT_EQ(b.on_report(old_place.report(kIndexA)).verdict, AttachVerdict::stale_epoch);
  b.start_session(kIndexB);
  AttachState answer = old_place.report(kIndexA);
  answer.session = b.session();
  EXPECT_EQ(b.on_attach_answer(answer).verdict, AttachVerdict::stale_epoch);
}

TEST_F(ChannelCoreTest, TheDirectorysHigherEpochEndsTheSessionWithTheOldPlace) {
  attach();
  EXPECT_FALSE(b.expect_peer(kLineageA, 1)) << "nothing new";
  EXPECT_TRUE(b.attached());
  EXPECT_TRUE(b.expect_peer(kLineageA, 2));
  EXPECT_EQ(b.state(), State::detached);
  EXPECT_FALSE(b.expect_peer(kLineageA, 1)) << "out of date";
  EXPECT_EQ(b.on_attach(a.start_session(kIndexA)).verdict, AttachVerdict::stale_epoch);
  a.on_moved(2);
  EXPECT_EQ(b.on_attach(a.start_session(kIndexA)).verdict, AttachVerdict::accept);
}

TEST_F(ChannelCoreTest, TheFirstWordOfTheDirectoryDoesNotEndAStart) {
  a.start_session(kIndexA);
  EXPECT_FALSE(a.expect_peer(kLineageB, 3));
  EXPECT_EQ(a.state(), State::attaching);
}

TEST_F(ChannelCoreTest, AnotherLineageIsTheEndOfTheChannel) {
  attach();
  ChannelCore reborn(99, 1, true);
  AttachState start = reborn.start_session(kIndexA);
  start.session = a.session() + 1;
  EXPECT_EQ(b.on_attach(start).verdict, AttachVerdict::lineage_lost);
}

TEST_F(ChannelCoreTest, AfterAMoveThePeerSendsAgainWhatWasNotTaken) {
  attach();
  transfer(3);
  b.in(Stream::messages).on_taken(1);
  b.on_moved(2);
  a.on_detached();
  const AttachState start = b.start_session(kIndexB);
  EXPECT_EQ(start.arrived[0], 2u);
  EXPECT_EQ(start.received[0], 2u);
  const ChannelCore::Effect effect = a.on_attach(start);
  ASSERT_EQ(effect.verdict, AttachVerdict::accept);
  EXPECT_EQ(effect.freed[0], 1u);
  EXPECT_EQ(effect.resent[0], 2u);
}

TEST_F(ChannelCoreTest, WhatTheOldPlaceSentAfterTheCopyIsNoOffenceOfThePeer) {
  attach();
  a.out(Stream::messages).accept();
  ChannelCore moved = a;
  b.in(Stream::messages).on_frame(a.out(Stream::messages).transmit());
  b.in(Stream::messages).on_taken(1);
  moved.on_moved(2);
  ASSERT_EQ(b.on_attach(moved.start_session(kIndexA)).verdict, AttachVerdict::accept);
  const ChannelCore::Effect effect = moved.on_attach_answer(b.report(kIndexB));
  EXPECT_EQ(effect.verdict, AttachVerdict::accept);
  EXPECT_EQ(effect.freed[0], 1u);
}

TEST_F(ChannelCoreTest, AReportCountsInItsSessionOnly) {
  attach();
  AttachState report = b.report(kIndexB);
  report.session += 1;
  EXPECT_EQ(a.on_report(report).verdict, AttachVerdict::ignore);
  EXPECT_EQ(a.on_report(b.report(kIndexB)).verdict, AttachVerdict::accept);
  a.on_detached();
  EXPECT_EQ(a.on_report(b.report(kIndexB)).verdict, AttachVerdict::ignore);
}

TEST_F(ChannelCoreTest, AnInvalidClaimChangesNothing) {
  attach();
  transfer(2);
  b.in(Stream::messages).on_taken(1);
  AttachState report = b.report(kIndexB);
  report.arrived[1] = 2;  // of replies, which were never sent
  const ChannelCore::Effect effect = a.on_report(report);
  EXPECT_EQ(effect.verdict, AttachVerdict::invalid);
  EXPECT_EQ(effect.freed[0], 0u);
  EXPECT_EQ(a.out(Stream::messages).retained(), 2u);

  AttachState unordered = b.report(kIndexB);
  unordered.received[0] = unordered.arrived[0] + 1;  // received, but not arrived
  EXPECT_EQ(a.on_report(unordered).verdict, AttachVerdict::invalid);
}

TEST_F(ChannelCoreTest, BothStreamsStartAtTheGivenNumber) {
  const ChannelCore core(kLineageA, 1, true, 0xFFFFFFFF);
  EXPECT_EQ(core.out(Stream::messages).next(), 0xFFFFFFFFu);
  EXPECT_EQ(core.in(Stream::replies).arrived(), 0xFFFFFFFFu);
}

}  // namespace
}  // namespace godwit::channel
