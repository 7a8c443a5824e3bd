// The verbs transport's tables and plans, which need no device.
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "verbs/link_table.h"
#include "verbs/memory_plan.h"
#include "verbs/send_ledger.h"

namespace godwit::fabric::verbs {
namespace {

struct Thing {
  int number = 0;
};

TEST(VerbsLinkTable, ALateNumberFindsNothing) {
  LinkTable<Thing> table;
  Thing first, second;
  const LinkId id = table.add(first);
  EXPECT_NE(id, 0u);
  EXPECT_EQ(table.find(id), &first);
  table.remove(id);
  EXPECT_EQ(table.find(id), nullptr);
  std::set<LinkId> seen = {id};
  for (int i = 0; i < 10'000; ++i) {
    const LinkId next = table.add(second);
    ASSERT_TRUE(seen.insert(next).second) << "a number came twice";
    ASSERT_EQ(table.find(id), nullptr);
    ASSERT_EQ(table.find(next), &second);
    table.remove(next);
  }
  EXPECT_EQ(table.size(), 0u);
}

TEST(VerbsLinkTable, NumbersFromOutsideAreChecked) {
  LinkTable<Thing> table;
  Thing thing;
  table.add(thing);
  EXPECT_EQ(table.find(0), nullptr);
  EXPECT_EQ(table.find(0xffff), nullptr);
  EXPECT_EQ(table.find(0xffffffff), nullptr);
  EXPECT_EQ(table.find(5u << 16), nullptr);
  table.remove(0xffffffff);
  EXPECT_EQ(table.size(), 1u);
}

TEST(VerbsWorkId, HasItsTwoHalves) {
  const std::uint64_t work = work_id(0xabcd0012, 0xfffffffe);
  EXPECT_EQ(link_of(work), 0xabcd0012u);
  EXPECT_EQ(sequence_of(work), 0xfffffffeu);
}

TEST(VerbsSendLedger, ACompletionEndsAllBeforeIt) {
  SendLedger ledger(40);
  std::vector<std::uint32_t> slots;
  for (std::uint32_t i = 0; i < 10; ++i) ledger.add({Posted::Kind::slot, i}, false);
  EXPECT_EQ(ledger.unfinished(), 10u);
  EXPECT_TRUE(ledger.complete(6, [&](const Posted& what) { slots.push_back(what.index); }));
  EXPECT_EQ(slots, (std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(ledger.unfinished(), 3u);
  // Not out any more, or not yet.
  EXPECT_FALSE(ledger.complete(6, [](const Posted&) { FAIL(); }));
  EXPECT_FALSE(ledger.complete(10, [](const Posted&) { FAIL(); }));
}

TEST(VerbsSendLedger, SomeRequestIsAlwaysSignalledBeforeTheQueueIsFull) {
  SendLedger ledger(32);
  std::uint32_t signalled = 0;
  while (!ledger.full()) {
    const bool signal = ledger.must_signal(false);
    signalled += signal ? 1 : 0;
    ledger.add({}, signal);
  }
  EXPECT_GE(signalled, 3u);
  EXPECT_LE(signalled, 4u);
  EXPECT_TRUE(ledger.must_signal(true));
}

TEST(VerbsSendLedger, MayBeAddedToWhileItCompletes) {
  SendLedger ledger(32);
  for (int i = 0; i < 4; ++i) ledger.add({Posted::Kind::fetch, 0}, true);
  std::uint32_t ended = 0;
  ledger.complete(3, [&](const Posted&) {
    ++ended;
    ledger.add({Posted::Kind::fetch, 0}, true);
  });
  EXPECT_EQ(ended, 4u);
  EXPECT_EQ(ledger.unfinished(), 4u);
}

const DeviceLimits kDevice{16384, 32767};

TEST(VerbsMemoryPlan, KeepsToTheLimit) {
  for (const std::uint64_t locked : {1ull << 20, 3ull << 20, 6ull << 20, 64ull << 20, 1ull << 30}) {
    const auto plan = plan_memory(locked, kDevice, {});
    ASSERT_TRUE(plan.has_value()) << locked;
    EXPECT_LE(plan->bytes(), locked) << locked;
    EXPECT_GE(plan->receive_buffers, 2 * kSpareBuffers);
    EXPECT_GE(plan->send_slots, 16u);
    EXPECT_GE(plan->bounce_pieces, 1u);
  }
}

TEST(VerbsMemoryPlan, EightMebibytesAreEnoughForManyPeers) {
  const auto plan = plan_memory((8 << 20) / 4 * 3, kDevice, {});
  ASSERT_TRUE(plan.has_value());
  EXPECT_GE(plan->receive_buffers, 1000u);
  EXPECT_GE(plan->registered, 1u << 20);
}

TEST(VerbsMemoryPlan, KeepsToWhatTheDeviceAndTheOptionsSay) {
  VerbsOptions options;
  options.receive_buffers = 500;
  options.send_slots = 40;
  auto plan = plan_memory(1 << 30, kDevice, options);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->receive_buffers, 500 + kSpareBuffers);
  EXPECT_EQ(plan->send_slots, 40u);
  plan = plan_memory(1 << 30, {1000, 600}, {});
  ASSERT_TRUE(plan.has_value());
  EXPECT_LE(plan->receive_buffers, 600u);
  EXPECT_LE(plan->send_completions, 600u);
}

TEST(VerbsMemoryPlan, TooLittleSaysWhatToDo) {
  const auto plan = plan_memory(64 << 10, kDevice, {});
  ASSERT_FALSE(plan.has_value());
  EXPECT_EQ(plan.error().code, Errc::no_memory);
  EXPECT_NE(plan.error().message.find("ulimit -l"), std::string::npos) << plan.error().message;
}

}  // namespace
}  // namespace godwit::fabric::verbs
