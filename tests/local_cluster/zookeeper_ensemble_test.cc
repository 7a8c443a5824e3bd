// A ZooKeeper that fails under agents: stopped and started again, without its leader, cut in two.
#include "local_cluster/zookeeper_ensemble.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>

#include "local_cluster/cluster.h"
#include "local_cluster/crew.h"
#include "workers.h"

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::Cluster;
using godwit::local_cluster::ClusterOptions;
using godwit::local_cluster::Crew;
using godwit::local_cluster::Network;

class ZooKeeperEnsembleReal : public ::testing::Test {
 protected:
  // What the machine lacks is a reason to skip.
  void start(std::size_t servers, Network::Kind network) {
    ClusterOptions options;
    options.nodes = {"north", "east"};
    options.dc = kDc;
    options.private_zookeeper = true;
    options.zookeeper_servers = servers;
    options.network = network;
    auto cluster = Cluster::start(std::move(options));
    if (!cluster && cluster.error().code == godwit::Errc::not_found) {
      GTEST_SKIP() << cluster.error().message;
    }
    ASSERT_TRUE(cluster) << cluster.error().to_string();
    cluster_.emplace(std::move(*cluster));
    crew_.emplace(*cluster_);
  }
  // A name that is new goes through the directory, on both nodes.
  void expect_directory_works() {
    auto server = crew_->start("north", "echo");
    ASSERT_TRUE(server) << server.error().to_string();
    auto caller = crew_->start("east", "caller");
    ASSERT_TRUE(caller) << caller.error().to_string();
    const auto answered =
        crew_->run_until([&] { return (*caller)->find("ready") != nullptr; }, 60s);
    ASSERT_TRUE(answered) << answered.error().to_string() << "\n" << cluster_->log_tail();
    crew_->kill(**caller);
    crew_->kill(**server);
    ASSERT_TRUE((*server)->process.wait(20s));
  }

  std::optional<Cluster> cluster_;
  std::optional<Crew> crew_;
};

TEST_F(ZooKeeperEnsembleReal, OneServerComesBackWithItsData) {
  start(1, Network::loopback);
  if (IsSkipped()) return;
  auto& zookeeper = cluster_->zookeeper();
  EXPECT_EQ(zookeeper.leader(), 0u);
  const std::string address = zookeeper.address();
  zookeeper.server(0).stop();
  EXPECT_EQ(zookeeper.leader(), std::nullopt);
  ASSERT_TRUE(zookeeper.restart(0));
  const auto serves = zookeeper.wait_serving();
  ASSERT_TRUE(serves) << serves.error().to_string();
  EXPECT_EQ(zookeeper.address(), address);
  zookeeper.pause(0);
  EXPECT_EQ(zookeeper.leader(), std::nullopt);
  zookeeper.resume(0);
  expect_directory_works();  // in the DC that was made before
}

TEST_F(ZooKeeperEnsembleReal, AgentsGoOnWithoutTheLeader) {
  start(3, Network::loopback);
  if (IsSkipped()) return;
  auto& zookeeper = cluster_->zookeeper();
  const auto leader = zookeeper.leader();
  ASSERT_TRUE(leader);
  zookeeper.kill(*leader);
  auto serves = zookeeper.wait_serving();
  ASSERT_TRUE(serves) << serves.error().to_string();
  EXPECT_NE(zookeeper.leader(), leader);
  expect_directory_works();
  ASSERT_TRUE(zookeeper.restart(*leader));
  serves = zookeeper.wait_serving();
  ASSERT_TRUE(serves) << serves.error().to_string();
  EXPECT_EQ(zookeeper.server(*leader).mode(), "follower");
}

TEST_F(ZooKeeperEnsembleReal, AgentsGoOnWhenTheLeaderIsCutOff) {
  if (auto able = Network::supported(); !able) GTEST_SKIP() << able.error().message;
  start(3, Network::namespaces);
  if (IsSkipped()) return;
  auto& zookeeper = cluster_->zookeeper();
  const auto leader = zookeeper.leader();
  ASSERT_TRUE(leader);
  const std::string host = zookeeper.hosts(3)[*leader];
  ASSERT_TRUE(cluster_->network().isolate(host));
  expect_directory_works();
  ASSERT_TRUE(cluster_->network().rejoin(host));
  const auto serves = zookeeper.wait_serving();
  ASSERT_TRUE(serves) << serves.error().to_string();
}

}  // namespace
