#include "channel/window.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace godwit::channel {
namespace {

using Verdict = ReceiveWindow::Verdict;

/// Numbers just before the wrap, at it, and the ordinary start.
class Windows : public testing::TestWithParam<Number> {
 protected:
  Number first() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(All, Windows,
                         testing::Values(1u, 0u, 0xFFFFFFFFu, 0xFFFFFFF0u, 0xFFFFFF00u,
                                         0x7FFFFFF0u));

TEST_P(Windows, SenderCountsFromAcceptToAcknowledgement) {
  SendWindow window(first());
  EXPECT_TRUE(window.empty());
  EXPECT_EQ(window.accept(), first());
  EXPECT_EQ(window.accept(), first() + 1);
  EXPECT_TRUE(window.has_unsent());
  EXPECT_FALSE(window.was_transmitted(first()));
  EXPECT_EQ(window.transmit(), first());
  EXPECT_TRUE(window.was_transmitted(first()));
  EXPECT_FALSE(window.was_transmitted(first() + 1));
  const SendWindow::Ack ack = window.on_ack(first() + 1);
  EXPECT_TRUE(ack.valid);
  EXPECT_EQ(ack.freed, 1u);
  EXPECT_EQ(window.retained(), 1u);
  EXPECT_EQ(window.acknowledged(), first() + 1);
}

TEST_P(Windows, SenderIsFullAtTheLimitAndAtTheWindow) {
  SendWindow window(first());
  for (std::uint32_t i = 0; i < kWindow; ++i) {
    EXPECT_FALSE(window.full());
    EXPECT_EQ(window.full(4), i >= 4);
    window.accept();
  }
  EXPECT_TRUE(window.full());
}

TEST_P(Windows, AcknowledgementOfWhatWasNeverSentIsInvalid) {
  SendWindow window(first());
  window.accept();
  window.accept();
  window.transmit();
  EXPECT_FALSE(window.on_ack(first() + 2).valid);
  EXPECT_EQ(window.retained(), 2u) << "an invalid acknowledgement must free nothing";
  EXPECT_FALSE(window.may_have(first() + 2));
  EXPECT_TRUE(window.may_have(first() + 1));
}

TEST_P(Windows, LateAcknowledgementFreesNothing) {
  SendWindow window(first());
  for (int i = 0; i < 4; ++i) window.accept();
  for (int i = 0; i < 4; ++i) window.transmit();
  EXPECT_EQ(window.on_ack(first() + 3).freed, 3u);
  const SendWindow::Ack late = window.on_ack(first() + 1);
  EXPECT_TRUE(late.valid);
  EXPECT_EQ(late.freed, 0u);
  EXPECT_EQ(window.acknowledged(), first() + 3);
}

TEST_P(Windows, RewindSendsAgainWhatHasNotArrived) {
  SendWindow window(first());
  for (int i = 0; i < 5; ++i) window.accept();
  for (int i = 0; i < 4; ++i) window.transmit();
  EXPECT_EQ(window.rewind(first() + 1), 3u);
  EXPECT_EQ(window.transmit(), first() + 1);
  // A later report than the one that rewound: the rest need not be sent.
  EXPECT_EQ(window.rewind(first() + 4), 0u);
  EXPECT_EQ(window.transmit(), first() + 4);
}

TEST_P(Windows, RewindNeverGoesBackBeforeTheAcknowledged) {
  SendWindow window(first());
  for (int i = 0; i < 4; ++i) window.accept();
  for (int i = 0; i < 4; ++i) window.transmit();
  window.on_ack(first() + 3);
  EXPECT_EQ(window.rewind(first()), 1u);
  EXPECT_EQ(window.sent(), first() + 3);
}

TEST_P(Windows, WhatWasTransmittedOnceStaysSoAfterARewind) {
  SendWindow window(first());
  window.accept();
  window.transmit();
  window.rewind(first());
  EXPECT_TRUE(window.was_transmitted(first())) << "a call could be told `not executed` wrongly";
}

TEST_P(Windows, AcknowledgementDuringARewindSkipsWhatIsKnownToBeThere) {
  SendWindow window(first());
  for (int i = 0; i < 4; ++i) window.accept();
  for (int i = 0; i < 4; ++i) window.transmit();
  window.rewind(first());
  EXPECT_EQ(window.on_ack(first() + 3).freed, 3u);
  EXPECT_EQ(window.transmit(), first() + 3);
}

TEST_P(Windows, AfterAMoveAllThatWasAcceptedMayHaveBeenSent) {
  SendWindow window(first());
  window.accept();
  EXPECT_FALSE(window.may_have(first() + 1));
  window.on_moved();
  EXPECT_TRUE(window.may_have(first() + 1));
  EXPECT_TRUE(window.was_transmitted(first()));
  EXPECT_TRUE(window.has_unsent()) << "it is sent from here nevertheless";
}

TEST_P(Windows, ReceiverDeliversInOrderOnly) {
  ReceiveWindow window(first());
  EXPECT_EQ(window.on_frame(first() + 1), Verdict::gap);
  EXPECT_EQ(window.on_frame(first()), Verdict::deliver);
  EXPECT_EQ(window.on_frame(first()), Verdict::duplicate);
  EXPECT_EQ(window.on_frame(first() - 1), Verdict::duplicate);
  EXPECT_EQ(window.on_frame(first() + 1), Verdict::deliver);
  EXPECT_EQ(window.arrived(), first() + 2);
  EXPECT_EQ(window.received(), first()) << "arrival is not receipt";
}

TEST_P(Windows, ReceiverRefusesWhatTheSenderHasNoSlotFor) {
  ReceiveWindow window(first());
  EXPECT_EQ(window.on_frame(first() + kWindow), Verdict::overrun);
  for (Number i = 0; i < kWindow; ++i) ASSERT_EQ(window.on_frame(first() + i), Verdict::deliver);
  EXPECT_EQ(window.on_frame(first() + kWindow), Verdict::overrun);
  window.on_taken(first());
  EXPECT_EQ(window.on_frame(first() + kWindow), Verdict::deliver);
}

TEST_P(Windows, ReceivedAdvancesOverWhatWasTakenOutOfOrder) {
  ReceiveWindow window(first());
  for (Number i = 0; i < 4; ++i) window.on_frame(first() + i);
  window.on_taken(first() + 2);
  window.on_taken(first() + 1);
  EXPECT_EQ(window.received(), first());
  window.on_taken(first());
  EXPECT_EQ(window.received(), first() + 3);
  window.on_taken(first() + 3);
  EXPECT_EQ(window.received(), first() + 4);
}

TEST_P(Windows, AWholeWindowCanBeTakenBackwards) {
  ReceiveWindow window(first());
  for (Number i = 0; i < kWindow; ++i) window.on_frame(first() + i);
  for (Number i = kWindow; i > 1; --i) window.on_taken(first() + i - 1);
  EXPECT_EQ(window.received(), first());
  window.on_taken(first());
  EXPECT_EQ(window.received(), first() + kWindow);
  EXPECT_EQ(window.on_frame(first() + kWindow), Verdict::deliver);
  window.on_taken(first() + kWindow);
  EXPECT_EQ(window.received(), first() + kWindow + 1);
}

TEST_P(Windows, WhatWasTakenBeforeAMoveIsNotDeliveredAgain) {
  ReceiveWindow window(first());
  for (Number i = 0; i < 4; ++i) window.on_frame(first() + i);
  window.on_taken(first() + 2);
  window.forget_untaken();
  EXPECT_EQ(window.arrived(), first());
  EXPECT_EQ(window.on_frame(first()), Verdict::deliver);
  EXPECT_EQ(window.on_frame(first() + 1), Verdict::deliver);
  EXPECT_EQ(window.on_frame(first() + 2), Verdict::duplicate);
  EXPECT_EQ(window.on_frame(first() + 3), Verdict::deliver);
  EXPECT_EQ(window.received(), first()) << "no frame may acknowledge anything";
}

TEST_P(Windows, WhatWasTakenBeforeAMoveIsPassedOverWithoutComingAgain) {
  ReceiveWindow window(first());
  window.on_frame(first());
  window.on_frame(first() + 1);
  window.on_taken(first() + 1);
  window.forget_untaken();
  EXPECT_EQ(window.on_frame(first()), Verdict::deliver);
  window.on_taken(first());
  EXPECT_EQ(window.received(), first() + 2);
  EXPECT_EQ(window.arrived(), first() + 2);
  EXPECT_EQ(window.on_frame(first() + 1), Verdict::duplicate);
  EXPECT_EQ(window.on_frame(first() + 2), Verdict::deliver);
}

/// Both halves against a model in 64 bits, which does not wrap, over a medium that loses, doubles
/// and delays. The numbers pass 2^32 on the way.
TEST(WindowsAtTheWrap, AgreeWithAModelThatDoesNotWrap) {
  for (std::uint32_t seed = 1; seed <= 50; ++seed) {
    std::mt19937 random(seed);
    const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
    const std::uint64_t first = (std::uint64_t{1} << 32) - 20 - random() % 100;
    SendWindow sender(static_cast<Number>(first));
    ReceiveWindow receiver(static_cast<Number>(first));
    std::uint64_t next = first;       // model: the next to accept
    std::uint64_t delivered = first;  // model: the next to deliver
    std::uint64_t freed = first;      // model: all before are acknowledged
    std::set<std::uint64_t> inbox;
    std::set<std::uint64_t> taken;  // at or after `all_taken`
    std::uint64_t all_taken = first;
    std::vector<Number> medium;
    std::vector<Number> acks;

    for (int step = 0; step < 20'000; ++step) {
      switch (random() % 6) {
        case 0:
          for (std::uint32_t burst = random() % 8; burst > 0 && !sender.full(); --burst) {
            ASSERT_EQ(sender.accept(), static_cast<Number>(next++));
          }
          break;
        case 1:
          if (!sender.has_unsent()) break;
          medium.push_back(sender.transmit());
          if (chance(10)) medium.push_back(medium.back());
          break;
        case 2: {
          if (medium.empty()) break;
          const std::size_t at = chance(80) ? 0 : random() % medium.size();
          const Number number = medium[at];
          medium.erase(medium.begin() + static_cast<std::ptrdiff_t>(at));
          if (chance(5)) break;
          const Verdict verdict = receiver.on_frame(number);
          if (number == static_cast<Number>(delivered)) {
            ASSERT_EQ(verdict, taken.contains(delivered) ? Verdict::duplicate : Verdict::deliver);
            if (verdict == Verdict::deliver) inbox.insert(delivered);
            ++delivered;
          } else {
            ASSERT_NE(verdict, Verdict::deliver);
            ASSERT_NE(verdict, Verdict::overrun);
          }
          break;
        }
        case 3: {
          if (inbox.empty()) break;
          auto at = inbox.begin();
          if (chance(30)) std::advance(at, random() % inbox.size());
          receiver.on_taken(static_cast<Number>(*at));
          taken.insert(*at);
          inbox.erase(at);
          while (taken.erase(all_taken) != 0) ++all_taken;
          delivered = std::max(delivered, all_taken);
          break;
        }
        case 4:
          if (chance(50)) acks.push_back(receiver.received());
          if (!acks.empty() && chance(50)) {
            const SendWindow::Ack ack = sender.on_ack(acks[random() % acks.size()]);
            ASSERT_TRUE(ack.valid);
            freed += ack.freed;
            if (acks.size() > 8) acks.erase(acks.begin());
          }
          break;
        case 5:
          if (chance(2)) {  // a move
            receiver.forget_untaken();
            inbox.clear();
            delivered = all_taken;
          }
          if (!chance(25)) break;
          ASSERT_TRUE(sender.may_have(receiver.arrived()));
          sender.rewind(receiver.arrived());
          freed += sender.on_ack(receiver.received()).freed;
          break;
      }
      ASSERT_EQ(receiver.arrived(), static_cast<Number>(delivered));
      ASSERT_EQ(receiver.received(), static_cast<Number>(all_taken));
      ASSERT_EQ(sender.acknowledged(), static_cast<Number>(freed));
      ASSERT_LE(freed, all_taken) << "freed before it was taken";
      ASSERT_LE(sender.retained(), kWindow);
    }
    EXPECT_GT(all_taken, std::uint64_t{1} << 32) << "seed " << seed << " never came to the wrap";
  }
}

}  // namespace
}  // namespace godwit::channel
