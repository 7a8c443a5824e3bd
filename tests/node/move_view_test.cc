// What the source's agent says of the intent, and when the target's agent believes it.
#include "agent/move_view.h"

#include <gtest/gtest.h>

namespace godwit::node {
namespace {

using coord::proto::MigrationRecord;

// A move of two endpoints as the target's agent knows it before the intent.
MoveReading prepared() {
  MoveReading reading;
  MigrationRecord& record = reading.entry.record;
  record.set_id(0x1234);
  record.set_dc("demo");
  record.set_state(MigrationRecord::PREPARED);
  record.set_target_node("east");
  record.set_target_process(7);
  reading.entry.stat.version = 1;
  for (std::uint32_t slot : {3u, 5u}) {
    auto& member = *record.add_members();
    member.set_slot(slot);
    member.set_generation(2);
    member.set_lineage(99);
    member.set_epoch(4);
    coord::EndpointEntry endpoint;
    endpoint.record.set_slot(slot);
    endpoint.record.set_generation(2);
    endpoint.record.set_lineage(99);
    endpoint.record.set_epoch(4);
    endpoint.record.set_state(coord::proto::SERVING);
    endpoint.stat.version = 10;
    reading.members.push_back(endpoint);
  }
  return reading;
}

// The same, written by the source's agent: what update() may have noted meanwhile included.
MoveReading moving() {
  MoveReading reading = prepared();
  reading.entry.record.set_state(MigrationRecord::MOVING);
  reading.entry.record.mutable_progress()->set_rounds(3);
  reading.entry.record.mutable_times()->set_intent_unix_ms(1000);
  reading.entry.stat.version = 4;
  reading.entry.stat.trail.nonces[0] = 77;
  reading.entry.stat.trail.nonces[1] = 76;
  reading.entry.stat.trail.count = 2;
  for (auto& member : reading.members) {
    member.record.set_state(coord::proto::MOVING);
    member.stat.version = 11;
  }
  return reading;
}

TEST(Intent, IsReadAsItWasWritten) {
  const auto read = parsed_intent(packed_intent(moving()), prepared());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->view(), moving().view());
  EXPECT_EQ(read->view().phase, migrate::Phase::moving);
  EXPECT_EQ(read->record().progress().rounds(), 3u);
  EXPECT_EQ(read->entry.stat.version, 4);
  EXPECT_EQ(read->entry.stat.trail.count, 2);
  EXPECT_EQ(read->entry.stat.trail.nonces[1], 76u);
  ASSERT_EQ(read->members.size(), 2u);
  EXPECT_EQ(read->members[1].stat.version, 11);
  EXPECT_EQ(read->members[1].record.state(), coord::proto::MOVING);
}

TEST(Intent, WhatIsNoIntentIsNotBelieved) {
  EXPECT_FALSE(parsed_intent("", prepared()));
  EXPECT_FALSE(parsed_intent("\xff\xff no message", prepared()));
  EXPECT_FALSE(parsed_intent(packed_intent(prepared()), prepared()));  // not MOVING
}

TEST(Intent, AnotherMoveOrOtherEndpointsAreNotBelieved) {
  MoveReading other = moving();
  other.entry.record.set_id(0x4321);
  EXPECT_FALSE(parsed_intent(packed_intent(other), prepared()));

  other = moving();
  other.entry.record.set_target_process(8);
  EXPECT_FALSE(parsed_intent(packed_intent(other), prepared()));

  other = moving();
  other.members.pop_back();
  EXPECT_FALSE(parsed_intent(packed_intent(other), prepared()));

  other = moving();
  other.members[1].record.set_lineage(100);
  EXPECT_FALSE(parsed_intent(packed_intent(other), prepared()));

  other = moving();
  other.members[0].record.mutable_owner()->set_process(8);
  EXPECT_FALSE(parsed_intent(packed_intent(other), prepared()));
}

}  // namespace
}  // namespace godwit::node
