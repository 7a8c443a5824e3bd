// HostileVerbsPeer: a peer that has a queue pair and not our manners sends the corpora of the fuzz
// targets as introductions, handshakes and messages; as a stranger, and as a member. Each is
// refused, nothing of it is delivered, and a good peer is served afterwards.
#ifdef GODWIT_HAVE_VERBS

#include <gtest/gtest.h>

#include <algorithm>

#include "fabric/hostile/corpus.h"
#include "fabric/hostile/verbs_raw_peer.h"
#include "fabric/verbs/verbs_device.h"
#include "verbs/wire.h"

namespace godwit::fabric::testing {
namespace {

using namespace std::chrono_literals;
using verbs::Introduction;
using verbs::Kind;
using verbs::Link;

class HostileVerbsPeer : public VerbsDevice {
 protected:
  TransportFactory factory_ = verbs_factory();
};

void expect_good_service(TransportFactory& factory, TestEngine& target) {
  target.received.clear();
  TestEngine good(factory);
  auto dialed = good.transport().connect(target.address(), kDc);
  ASSERT_TRUE(dialed);
  ASSERT_TRUE(pump_until([&] { return !good.established.empty(); }, good, target));
  for (const std::uint32_t size : {100u, 200'000u}) {
    FramePtr frame = good.make_frame(size, 3);
    ASSERT_EQ((*dialed)->post(frame), SendStatus::sent);
  }
  ASSERT_TRUE(pump_until([&] { return target.received.size() == 2; }, good, target));
  EXPECT_TRUE(TestEngine::has_pattern(target.received[1].payload, 3));
}

TEST_F(HostileVerbsPeer, AStrangerIsNeverBelievedAndAGoodPeerIsServedAfterwards) {
  TestEngine target(factory_, {.handshake_timeout = 1s});
  VerbsRawPeer raw(target.address(), [&] { target.step(); });
  const std::string sound = Introduction{1}.encode();
  std::size_t accepted = 0;
  for (const CorpusEntry& entry : hostile_corpus()) {
    SCOPED_TRACE(entry.name);
    // As the private data of the connection manager.
    if (raw.dial(entry.bytes)) ++accepted;
    // With a sound introduction: as a whole message, and as the body of a handshake's. A frame
    // and a goodbye end it, if it has not ended.
    for (const bool whole : {true, false}) {
      const std::size_t closed = target.closed.size();
      ASSERT_TRUE(raw.dial(sound));
      raw.name_link();
      const auto size =
          static_cast<std::uint32_t>(std::min<std::size_t>(entry.bytes.size(), kSmallPayload));
      ASSERT_TRUE(
          raw.send(whole ? entry.bytes : verbs_message(Kind::handshake, entry.bytes, size)));
      ASSERT_TRUE(raw.send(verbs_message(Kind::frame, entry.bytes, size)));
      ASSERT_TRUE(pump_until([&] { return target.closed.size() > closed; }, 10s, target));
      ASSERT_TRUE(target.established.empty()) << "a stranger was believed";
      ASSERT_TRUE(target.received.empty());
    }
  }
  // Only what begins with an introduction is one.
  EXPECT_LT(accepted, 4u);
  raw.hang_up();
  expect_good_service(factory_, target);
}

TEST_F(HostileVerbsPeer, AMemberThatBreaksTheProtocolLosesItsConnectionAlone) {
  TestEngine target(factory_), bystander(factory_), member(factory_);
  auto& device = transport_of(member).device();
  ASSERT_TRUE(bystander.transport().connect(target.address(), kDc));
  ASSERT_TRUE(
      pump_until([&] { return !bystander.established.empty() && !target.established.empty(); },
                 target, bystander));
  std::size_t refused = 0;
  for (const CorpusEntry& entry : hostile_corpus()) {
    for (const Kind kind : {Kind{}, Kind::handshake, Kind::announce, Kind::begin, Kind::more}) {
      SCOPED_TRACE(entry.name + " as kind " + std::to_string(static_cast<int>(kind)));
      member.established.clear();
      const std::size_t before = target.established.size();
      ASSERT_TRUE(member.transport().connect(target.address(), kDc));
      ASSERT_TRUE(pump_until(
          [&] { return !member.established.empty() && target.established.size() > before; }, member,
          target));
      Link& link = static_cast<verbs::VerbsConnection*>(member.established[0])->link();
      const std::size_t closed = target.closed.size();
      ASSERT_TRUE(send_raw(
          device, link, kind == Kind{} ? entry.bytes : verbs_message(kind, entry.bytes, 100'000)));
      // Nobody's link: the last straw for what could have been a sound message.
      link.peer_id = 0x7fffffff;
      ASSERT_TRUE(send_raw(device, link, entry.bytes));
      ASSERT_TRUE(pump_until([&] { return target.closed.size() > closed; }, 10s, target, member,
                             bystander));
      ASSERT_EQ(target.closed.size(), closed + 1);
      ++refused;
      ASSERT_TRUE(
          pump_until([&] { return !member.closed.empty(); }, 10s, target, member, bystander));
      member.closed.clear();
    }
  }
  EXPECT_GT(refused, 200u);
  EXPECT_TRUE(bystander.closed.empty());
  expect_good_service(factory_, target);
}

}  // namespace
}  // namespace godwit::fabric::testing

#endif
