#include "fabric/remote/remote_conformance.h"

namespace godwit::fabric::testing {

namespace {

std::vector<TransportFactory> factories_between_processes() {
  std::vector<TransportFactory> factories = transport_factories();
  std::erase_if(factories, [](const TransportFactory& each) { return !each.between_processes; });
  return factories;
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Transports, RemoteConformance,
                         ::testing::ValuesIn(factories_between_processes()),
                         [](const auto& param) { return param.param.name; });

void RemoteConformance::SetUp() {
  auto started = RemotePeer::start();
  ASSERT_TRUE(started.has_value()) << started.error().to_string();
  peer = std::move(*started);
}

void RemoteConformance::TearDown() {
  if (peer != nullptr) peer->finish();
}

void RemoteConformance::skip(const std::string& reason) {
  GTEST_SKIP() << reason;
}

Result<EngineAddress> RemoteConformance::make_engine(RemotePeer& where, const EngineSetup& setup) {
  const Handshake::Offer offer = setup.offer.value_or(Handshake::Offer{});
  std::string command = "engine " + factory.name + " " + setup.node;
  for (const std::uint64_t number :
       {std::uint64_t{setup.key[0]}, std::uint64_t{setup.dc},
        static_cast<std::uint64_t>(setup.handshake_timeout / 1ms), std::uint64_t{offer.version_min},
        std::uint64_t{offer.version_max}, std::uint64_t{offer.max_payload}}) {
    command += " " + std::to_string(number);
  }
  const auto answer = where.ask(command);
  if (!answer) return tl::make_unexpected(answer.error());
  const auto blob = from_hex(*answer);
  if (!blob) return fail(Errc::protocol_error, "not an address: " + *answer);
  return EngineAddress::parse(*blob);
}

bool RemoteConformance::make_engines(const EngineSetup& here, const EngineSetup& setup) {
  EngineSetup own = here;
  own.listen_host = peer->own_host();
  a = std::make_unique<TestEngine>(factory, own);
  EXPECT_TRUE(a->has_transport());
  if (!a->has_transport()) return false;
  EngineSetup other = setup;
  // Only engines of one node share memory.
  other.node = a->transport().kind() == TransportKind::shm ? own.node : "peer";
  auto made = make_engine(*peer, other);
  if (!made && setup.offer && made.error().message.find("not_supported") != std::string::npos) {
    skip(factory.name + " cannot be given another offer");
    return false;
  }
  EXPECT_TRUE(made.has_value()) << made.error().to_string();
  if (!made) return false;
  there = *made;
  if (a->transport().kind() == TransportKind::shm && there.host != this_host()) {
    skip("the peer is on another machine");
    return false;
  }
  EXPECT_TRUE(a->transport().can_reach(there));
  a->on_data = [this](Connection&, const FrameHeader& header, std::span<const std::byte> payload,
                      Buffer) { got.add(header, payload); };
  return true;
}

Connection* RemoteConformance::dial() {
  const auto dialed = a->transport().connect(there, kDc);
  EXPECT_TRUE(dialed.has_value()) << dialed.error().to_string();
  return dialed.value_or(nullptr);
}

void RemoteConformance::expect_unreachable() {
  const auto dialed = a->transport().connect(there, kDc);
  if (!dialed) {
    EXPECT_EQ(dialed.error().code, Errc::unreachable) << dialed.error().to_string();
    return;
  }
  ASSERT_TRUE(pump_until([&] { return !a->closed.empty(); }, kLimit, *a));
  EXPECT_EQ(a->closed[0].reason.code, Errc::unreachable) << a->closed[0].reason.to_string();
}

bool RemoteConformance::connect(bool from_here) {
  const std::size_t before = a->established.size();
  const std::vector<std::uint64_t> links = peer->count("links", *a);
  if (links.empty()) return false;
  if (from_here) {
    if (dial() == nullptr) return false;
  } else {
    peer->tell("dial " + to_hex(a->address().serialize()) + " " + std::to_string(kDc), *a);
  }
  const bool up = pump_until([&] { return a->established.size() > before; }, kLimit, *a);
  EXPECT_TRUE(up) << "not established";
  if (!up) return false;
  to_peer = a->established.back();
  return peer->until(
      "links", [&](const auto& now) { return now[0] == links[0] + 1; }, *a);
}

bool RemoteConformance::post_all(Outgoing& outgoing) {
  const bool posted =
      pump_until([&] { return outgoing.post(*a, *to_peer) == Outgoing::Stop::done; }, kLimit, *a);
  EXPECT_TRUE(posted) << "sent " << outgoing.posted() << " frames";
  return posted;
}

bool RemoteConformance::send_all(Outgoing& outgoing) {
  return post_all(outgoing) && peer->has_received(0, outgoing.posted(), *a);
}

std::uint64_t RemoteConformance::wait_asleep() {
  std::uint64_t wakes = 0;
  peer->until(
      "asleep",
      [&](const auto& now) {
        wakes = now[2];
        return now[0] == 1 && (now[1] == 0 || wakes_by_itself());
      },
      *a);
  return wakes;
}

bool RemoteConformance::arm() {
  return pump_until([&] { return a->step() == 0 && a->transport().arm(); }, *a);
}

bool RemoteConformance::all_memory_is_home() {
  return pump_until([&] { return a->arena().in_use() == 0 && a->frames().outstanding() == 0; },
                    kLimit, *a);
}

}  // namespace godwit::fabric::testing
