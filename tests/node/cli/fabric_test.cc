// godwit fabric NODE: the choice between engines, and what the command says of it.
#include "cli/fabric_probe.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "node/cli/cli_process.h"

namespace godwit::node::cli::test {
namespace {

using Kind = fabric::TransportKind;

// As if each transport worked here, but for those that are named.
std::vector<Offer> offers_without(std::vector<Kind> missing) {
  std::vector<Offer> offers;
  for (const Kind kind : {Kind::shm, Kind::verbs, Kind::tcp, Kind::ucx}) {
    Offer offer{kind, {}, {}, kind != Kind::ucx, {}};
    if (std::find(missing.begin(), missing.end(), kind) != missing.end())
      offer.problem = Error{Errc::not_supported, "no device", {}};
    offers.push_back(offer);
  }
  return offers;
}

fabric::EngineAddress engine_on(const std::string& node) {
  fabric::EngineAddress address;
  address.engine = fabric::EngineId::random();
  address.node = node;
  address.host = fabric::this_host();
  address.shm_socket = "/run/x.shm";
  address.tcp = address.verbs = address.ucx = {{"10.0.0.2", 7}};
  return address;
}

std::string why_not(const std::vector<Way>& ways, Kind kind) {
  for (const Way& way : ways) {
    if (way.kind == kind) return way.why_not;
  }
  return "not listed";
}

TEST(FabricWays, TheBestThatBothOfferIsChosen) {
  EXPECT_EQ(chosen(ways_to(engine_on("alpha"), "alpha", offers_without({}))), Kind::shm);
  EXPECT_EQ(chosen(ways_to(engine_on("beta"), "alpha", offers_without({}))), Kind::verbs);
  EXPECT_EQ(chosen(ways_to(engine_on("beta"), "alpha", offers_without({Kind::verbs}))), Kind::tcp);
  auto address = engine_on("beta");
  address.verbs.clear();
  EXPECT_EQ(chosen(ways_to(address, "alpha", offers_without({}))), Kind::tcp);
  // What must be asked for is never chosen by itself.
  address.tcp.clear();
  const auto ways = ways_to(address, "alpha", offers_without({}));
  EXPECT_EQ(chosen(ways), std::nullopt);
  EXPECT_EQ(why_not(ways, Kind::ucx), "");
}

TEST(FabricWays, EachOtherSaysWhyNot) {
  auto address = engine_on("alpha");
  address.host = "another kernel";
  address.tcp.clear();
  const auto ways = ways_to(address, "alpha", offers_without({Kind::verbs}));
  EXPECT_NE(why_not(ways, Kind::shm).find("another kernel"), std::string::npos);
  EXPECT_NE(why_not(ways, Kind::verbs).find("no device"), std::string::npos);
  EXPECT_NE(why_not(ways, Kind::tcp).find("does not offer"), std::string::npos);
  EXPECT_NE(why_not(ways_to(address, "beta", offers_without({})), Kind::shm).find("another node"),
            std::string::npos);
}

TEST(CliFabricTowards, ANodeWithAndWithoutEndpoints) {
  CliNode node;
  ASSERT_TRUE(node.ready());
  const Said none = node.godwit({"fabric", "alpha"});
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.errors.find("no endpoint is bound"), std::string::npos) << none.errors;
  const Said unknown = node.godwit({"fabric", "omega"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_NE(unknown.errors.find("godwit node ls"), std::string::npos) << unknown.errors;

  const auto echo = node.bound({"echo", "demo/echo"});
  const Said said = node.godwit({"fabric", "alpha", "--json"});
  ASSERT_EQ(said.status, 0) << said.errors;
  const auto document = said.json();
  EXPECT_EQ(document["towards"], "alpha");
  ASSERT_EQ(document["engines"].size(), 1U) << document;
  const auto& engine = document["engines"][0];
  EXPECT_EQ(engine["endpoints"], nlohmann::json({"demo/echo"}));
  EXPECT_EQ(engine["chosen"], "shm");
  for (const auto& transport : engine["transports"]) {
    EXPECT_EQ(transport["chosen"], transport["transport"] == "shm") << transport;
    EXPECT_EQ(transport["why_not"].is_null(), transport["transport"] == "shm") << transport;
  }
  const Said table = node.godwit({"fabric", "alpha"});
  EXPECT_EQ(table.status, 0);
  EXPECT_NE(table.output.find("demo/echo"), std::string::npos) << table.output;
  EXPECT_NE(table.output.find("shm is better"), std::string::npos) << table.output;

  const Said here = node.godwit({"fabric", "--json"});
  EXPECT_EQ(here.json()["node"], "alpha");
  EXPECT_TRUE(here.json()["listen_host"].is_string());
}

}  // namespace
}  // namespace godwit::node::cli::test
