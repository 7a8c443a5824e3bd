#include "godwit/fabric/address.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "godwit/fabric/address.pb.h"

namespace godwit::fabric {
namespace {

EngineAddress full_address() {
  EngineAddress address;
  address.engine = EngineId::random();
  address.node = "rack-3/node \xc3\xa9";
  address.host = this_host();
  address.shm_socket = "/run/godwit/engine.shm";
  address.tcp = {{"127.0.0.1", 1}, {"::1", 65535}};
  address.ucx = {{"10.1.2.3", 4711}};
  address.verbs = {{"10.77.0.1", 4712}, {"fe80::1", 4713}};
  return address;
}

EngineAddress smallest_address() {
  EngineAddress address;
  address.engine = {0, 1};
  address.node = "n";
  return address;
}

TEST(EngineAddress, SurvivesTheBlob) {
  for (const EngineAddress& address : {full_address(), smallest_address()}) {
    const auto parsed = EngineAddress::parse(address.serialize());
    ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
    EXPECT_EQ(*parsed, address);
  }
}

TEST(EngineAddress, TheLargestFitsTheLimit) {
  EngineAddress address = full_address();
  address.node = std::string(255, 'n');
  address.host = std::string(255, 'h');
  address.shm_socket = "/" + std::string(EngineAddress::kMaxSocketPath - 1, 's');
  address.tcp.assign(EngineAddress::kMaxSockets,
                     {"1111:2222:3333:4444:5555:6666:7777:8888", 65535});
  address.ucx = address.verbs = address.tcp;
  const auto parsed = EngineAddress::parse(address.serialize());
  ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
  EXPECT_EQ(*parsed, address);
}

TEST(EngineAddress, RefusesWhatBreaksALimit) {
  const auto refused = [](auto change) {
    EngineAddress address = full_address();
    change(address);
    const auto parsed = EngineAddress::parse(address.serialize());
    return !parsed && parsed.error().code == Errc::protocol_error &&
           !parsed.error().message.empty();
  };
  EXPECT_FALSE(refused([](EngineAddress&) {}));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.engine = {}; }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.node = ""; }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.node = std::string(256, 'n'); }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.node = "a\x1b[0m"; }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.host = std::string(256, 'h'); }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.shm_socket = "relative/path"; }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.shm_socket = "/" + std::string(107, 's'); }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.shm_socket = std::string("/a\0b", 4); }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.tcp.push_back({"localhost", 80}); }));
  EXPECT_TRUE(refused([](EngineAddress& a) {
    a.tcp.push_back({std::string("1.2.3.4\0x", 9), 80});
  }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.tcp.push_back({"1.2.3.4", 0}); }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.ucx.push_back({"1.2.3", 80}); }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.verbs.push_back({"1.2.3", 80}); }));
  EXPECT_TRUE(refused([](EngineAddress& a) { a.tcp.assign(17, {"1.2.3.4", 80}); }));
}

TEST(EngineAddress, RefusesPortsThatAreNone) {
  wire::Address wire;
  ASSERT_TRUE(wire.ParseFromString(smallest_address().serialize().substr(4)));
  wire::Socket& socket = *wire.add_tcp();
  socket.set_host("1.2.3.4");
  socket.set_port(65536 + 80);
  EXPECT_FALSE(EngineAddress::parse("GWA1" + wire.SerializeAsString()).has_value());
}

TEST(EngineAddress, RefusesTruncationAnywhere) {
  const std::string blob = full_address().serialize();
  std::size_t accepted = 0;
  for (std::size_t size = 0; size < blob.size(); ++size) {
    const auto parsed = EngineAddress::parse(blob.substr(0, size));
    // Cut between two fields it is an address with less in it, never with something else.
    if (!parsed) continue;
    ++accepted;
    EXPECT_EQ(parsed->engine, EngineAddress::parse(blob)->engine);
  }
  EXPECT_LE(accepted, 7u);  // there are eight fields
}

TEST(EngineAddress, RefusesForeignAndHugeBlobs) {
  EXPECT_FALSE(EngineAddress::parse("").has_value());
  EXPECT_FALSE(EngineAddress::parse("GWA2" + full_address().serialize().substr(4)).has_value());
  EXPECT_FALSE(
      EngineAddress::parse("GWA1" + std::string(EngineAddress::kMaxBlob, 'x')).has_value());
}

TEST(EngineAddress, AnyBytesAreAnAddressOrAnError) {
  std::mt19937_64 random(20'000);
  const std::string sound = full_address().serialize();
  for (int i = 0; i < 50'000; ++i) {
    std::string blob = sound;
    for (std::uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
      blob[random() % blob.size()] = static_cast<char>(random());
    }
    const auto parsed = EngineAddress::parse(blob);
    if (!parsed) {
      EXPECT_EQ(parsed.error().code, Errc::protocol_error);
      continue;
    }
    // What is accepted keeps every limit, so it survives another round.
    const auto again = EngineAddress::parse(parsed->serialize());
    ASSERT_TRUE(again.has_value()) << again.error().to_string();
    EXPECT_EQ(*again, *parsed);
  }
}

TEST(ThisHost, IsTheSameAtEachCallAndNamesTheUser) {
  EXPECT_EQ(this_host(), this_host());
  EXPECT_TRUE(this_host().ends_with("/" + std::to_string(geteuid())));
  EXPECT_GT(this_host().size(), 20u);
}

}  // namespace
}  // namespace godwit::fabric
