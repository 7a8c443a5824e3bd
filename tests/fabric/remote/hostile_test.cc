// Two processes: what a peer that is hostile sends to the other process is refused there, and a
// good peer is served afterwards. The corpora are those of the fuzz targets; tests/fabric/hostile
// has the same within one process, where more can be seen.
#include "fabric/hostile/corpus.h"
#include "fabric/hostile/ucx_raw_peer.h"
#include "fabric/hostile/verbs_raw_peer.h"
#include "fabric/remote/remote_conformance.h"
#include "godwit/fabric/rdma_hosts.h"
#ifdef GODWIT_HAVE_VERBS
#include "verbs/verbs_connection.h"
#include "verbs/verbs_transport_impl.h"
#endif

namespace godwit::fabric::testing {

class RemoteHostility : public RemoteConformance {
 protected:
  bool over_verbs() const { return factory.name == "verbs"; }

  /// The peer has closed so many connections, and believed in so many.
  template <typename... Engines>
  bool has_closed(std::uint64_t closed, std::uint64_t established, Engines&... engines) {
    const bool enough = peer->until(
        "links", [&](const auto& now) { return now[1] >= closed; }, *a, engines...);
    if (!enough) return false;
    EXPECT_EQ(peer->count("links", *a, engines...), (std::vector{established, closed}));
    return !HasFailure();
  }

  void expect_good_service() {
    const std::uint64_t link = peer->count("links", *a)[0];
    ASSERT_TRUE(connect());
    Outgoing frames(20, 1, {100, 200'000});
    ASSERT_TRUE(post_all(frames));
    ASSERT_TRUE(peer->has_received(link, 20, *a));
    EXPECT_EQ(peer->received(link, *a), frames.series());
    to_peer->close({Errc::closed, "enough", {}});
    EXPECT_TRUE(peer->until(
        "memory", [](const auto& now) { return now[0] == 0 && now[1] == 0; }, *a));
  }

#ifdef GODWIT_HAVE_UCX
  std::unique_ptr<UcxRawPeer> raw_ucx() {
    UcxOptions options;
    options.host = factory.name == "ucx_rdma" ? rdma_hosts().front() : peer->own_host();
    if (factory.name == "ucx_tcp") options.tls = "tcp";
    return std::make_unique<UcxRawPeer>(options, there, [] {});
  }
  void send_as_stranger_over_ucx();
  void send_as_member_over_ucx();
#endif
#ifdef GODWIT_HAVE_VERBS
  void send_as_stranger_over_verbs();
  void send_as_member_over_verbs();
#endif
};

#ifdef GODWIT_HAVE_UCX
void RemoteHostility::send_as_stranger_over_ucx() {
  const auto raw = raw_ucx();
  std::uint64_t closed = 0;
  for (const CorpusEntry& entry : hostile_corpus()) {
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(raw->dial());
    raw->send_as_stranger(entry);
    ASSERT_TRUE(has_closed(++closed, 0, *raw));
  }
}

void RemoteHostility::send_as_member_over_ucx() {
  const auto raw = raw_ucx();
  std::uint64_t refused = 0;
  for (const CorpusEntry& entry : hostile_corpus()) {
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(raw->dial());
    const auto key = raw->become_member(kDc);
    ASSERT_TRUE(key.has_value()) << "the handshake of the raw peer fails";
    raw->send_as_member(entry, *key);
    ++refused;
    ASSERT_TRUE(has_closed(refused, 1 + refused, *raw));
    EXPECT_EQ(peer->tell("closure " + std::to_string(refused - 1), *a)[0], "protocol_error");
  }
  EXPECT_GT(refused, 50u);
}
#endif

#ifdef GODWIT_HAVE_VERBS
void RemoteHostility::send_as_stranger_over_verbs() {
  VerbsRawPeer raw(there, [this] { a->step(); });
  const std::string sound = verbs::Introduction{1}.encode();
  std::size_t accepted = 0;
  for (const CorpusEntry& entry : hostile_corpus()) {
    SCOPED_TRACE(entry.name);
    if (raw.dial(entry.bytes)) ++accepted;
    for (const bool whole : {true, false}) {
      ASSERT_TRUE(raw.dial(sound));
      raw.name_link();
      const auto size =
          static_cast<std::uint32_t>(std::min<std::size_t>(entry.bytes.size(), kSmallPayload));
      ASSERT_TRUE(
          raw.send(whole ? entry.bytes : verbs_message(verbs::Kind::handshake, entry.bytes, size)));
      ASSERT_TRUE(raw.send(verbs_message(verbs::Kind::frame, entry.bytes, size)));
    }
  }
  EXPECT_LT(accepted, 4u);  // only what begins with an introduction is one
  raw.hang_up();
  // Each connection that was made has ended, and none was believed.
  const std::uint64_t least = 2 * hostile_corpus().size();
  ASSERT_TRUE(peer->until(
      "links", [&](const auto& now) { return now[0] == 0 && now[1] >= least; }, *a));
}

void RemoteHostility::send_as_member_over_verbs() {
  auto& device = static_cast<verbs::VerbsTransport&>(a->transport()).device();
  std::uint64_t refused = 0;
  for (const CorpusEntry& entry : hostile_corpus()) {
    for (const verbs::Kind kind : {verbs::Kind{}, verbs::Kind::handshake, verbs::Kind::announce,
                                   verbs::Kind::begin, verbs::Kind::more}) {
      SCOPED_TRACE(entry.name + " as kind " + std::to_string(static_cast<int>(kind)));
      Connection* const bystander = to_peer;
      ASSERT_TRUE(connect());
      verbs::Link& link = static_cast<verbs::VerbsConnection*>(to_peer)->link();
      to_peer = bystander;
      ASSERT_TRUE(send_raw(
          device, link,
          kind == verbs::Kind{} ? entry.bytes : verbs_message(kind, entry.bytes, 100'000)));
      // Nobody's link: the last straw for what could have been a sound message.
      link.peer_id = 0x7fffffff;
      ASSERT_TRUE(send_raw(device, link, entry.bytes));
      ++refused;
      ASSERT_TRUE(has_closed(refused, 1 + refused));
      ASSERT_TRUE(pump_until([&] { return a->closed.size() == refused; }, kLimit, *a));
    }
  }
  EXPECT_GT(refused, 200u);
}
#endif

TEST_P(RemoteHostility, AStrangerIsNeverBelieved) {
  if (!make_engines()) return;
#ifdef GODWIT_HAVE_UCX
  if (!over_verbs()) {
    ASSERT_NO_FATAL_FAILURE(send_as_stranger_over_ucx());
  }
#endif
#ifdef GODWIT_HAVE_VERBS
  if (over_verbs()) {
    ASSERT_NO_FATAL_FAILURE(send_as_stranger_over_verbs());
  }
#endif
  expect_good_service();
}

TEST_P(RemoteHostility, AMemberThatBreaksTheProtocolLosesItsConnectionAlone) {
  if (!join()) return;
#ifdef GODWIT_HAVE_UCX
  if (!over_verbs()) {
    ASSERT_NO_FATAL_FAILURE(send_as_member_over_ucx());
  }
#endif
#ifdef GODWIT_HAVE_VERBS
  if (over_verbs()) {
    ASSERT_NO_FATAL_FAILURE(send_as_member_over_verbs());
  }
#endif
  // The connection that was there before has not been touched.
  Outgoing frames(10, 1, {100, 5000});
  ASSERT_TRUE(send_all(frames));
  EXPECT_EQ(peer->received(0, *a), frames.series());
  expect_good_service();
}

namespace {
std::vector<TransportFactory> hostile_factories() {
  std::vector<TransportFactory> factories = transport_factories();
  std::erase_if(factories, [](const TransportFactory& each) {
    return each.name != "ucx_tcp" && each.name != "ucx_rdma" && each.name != "verbs";
  });
  return factories;
}
}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(RemoteHostility);
INSTANTIATE_TEST_SUITE_P(Transports, RemoteHostility, ::testing::ValuesIn(hostile_factories()),
                         [](const auto& param) { return param.param.name; });

}  // namespace godwit::fabric::testing
