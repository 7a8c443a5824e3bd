// Agents that die, come back or stand still, and links that are cut between them.
#include "local_cluster/cluster.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>

#include "leftovers.h"
#include "local_cluster/crew.h"
#include "workers.h"

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::Cluster;
using godwit::local_cluster::ClusterOptions;
using godwit::local_cluster::Crew;
using godwit::local_cluster::Environment;
using godwit::local_cluster::Network;
using godwit::local_cluster::Worker;

constexpr auto kLimit = 60s;

class ClusterReal : public ::testing::Test {
 protected:
  void start(ClusterOptions options) {
    options.nodes = {"north", "east"};
    options.dc = kDc;
    // On a busy machine a process may need longer to notice that its agent is back.
    options.agent_flags.insert(options.agent_flags.end(), {"--reattach-grace", "30s"});
    auto cluster = Cluster::start(std::move(options));
    ASSERT_TRUE(cluster) << cluster.error().to_string();
    cluster_.emplace(std::move(*cluster));
    crew_.emplace(*cluster_);
    auto server = crew_->start_server("north", "echo");
    ASSERT_TRUE(server) << server.error().to_string();
    server_ = *server;
    start_caller();
  }
  void start_caller() {
    auto caller = crew_->start_server("east", "caller");
    ASSERT_TRUE(caller) << caller.error().to_string() << "\n" << cluster_->log_tail();
    caller_ = *caller;
  }
  void expect_until(const std::function<bool()>& until, const std::string& what) {
    const auto came = crew_->run_until(until, kLimit);
    EXPECT_TRUE(came) << what << ": " << came.error().to_string() << "\n" << cluster_->log_tail();
  }
  void expect_progress() {
    const std::uint64_t before = caller_->progress;
    expect_until([&] { return caller_->progress > before + 10; }, "no progress");
  }
  std::size_t said(const std::string& what) const { return caller_->find_all(what).size(); }

  std::optional<Cluster> cluster_;
  std::optional<Crew> crew_;
  Worker* server_ = nullptr;
  Worker* caller_ = nullptr;
};

TEST_F(ClusterReal, EndpointsSurviveTheirAgents) {
  start({});
  for (const std::string node : {"north", "east"}) {
    const pid_t before = cluster_->agent(node).pid();
    ASSERT_TRUE(cluster_->kill_agent(node));
    EXPECT_FALSE(is_alive(before));
    expect_progress();  // needs no agent
    const auto back = cluster_->restart_agent(node);
    ASSERT_TRUE(back) << back.error().to_string();
    EXPECT_NE(cluster_->agent(node).pid(), before);
    expect_progress();
  }
  start_caller();  // finds the name by the new agents
  expect_progress();
  EXPECT_EQ(cluster_->kill_agent("west").error().code, godwit::Errc::not_found);
  EXPECT_EQ(cluster_->restart_agent("west").error().code, godwit::Errc::not_found);
}

TEST_F(ClusterReal, PausesAndResumes) {
  start({});
  cluster_->pause_agent("north");
  expect_progress();
  cluster_->resume_agent("north");
  crew_->pause(*server_);
  expect_until([&] { return said("stalled") == 1; }, "a paused server answers");
  crew_->resume(*server_);
  expect_until([&] { return said("recovered") == 1; }, "a resumed server does not answer");
  // Whoever stands still is stopped all the same.
  cluster_->pause_agent("east");
  EXPECT_EQ(cluster_->stop(), std::vector<std::string>{});
}

TEST_F(ClusterReal, HandsFlagsAndEnvironmentToAgents) {
  ClusterOptions options;
  options.nodes = {"north"};
  options.agent_environment = [](const std::string& node) {
    return Environment{{"GODWIT_TEST_NODE", node}};
  };
  options.agent_flags = {"--no-such-flag"};
  const auto refused = Cluster::start(options);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("ended with exit status"), std::string::npos)
      << refused.error().to_string();
  options.agent_flags = {};
  auto cluster = Cluster::start(options);
  ASSERT_TRUE(cluster) << cluster.error().to_string();
  std::ifstream file("/proc/" + std::to_string(cluster->agent("north").pid()) + "/environ");
  const std::string environment((std::istreambuf_iterator<char>(file)), {});
  EXPECT_NE(environment.find("GODWIT_TEST_NODE=north"), std::string::npos);
}

TEST_F(ClusterReal, ACutStopsCallsUntilItHeals) {
  if (auto able = Network::supported(); !able) GTEST_SKIP() << able.error().message;
  ClusterOptions options;
  options.network = Network::namespaces;
  start(std::move(options));
  expect_progress();
  ASSERT_TRUE(cluster_->network().cut("east", "north"));
  expect_until([&] { return said("stalled") == 1; }, "requests get through");
  ASSERT_TRUE(cluster_->network().heal("east", "north"));
  expect_until([&] { return said("recovered") == 1; }, "calls do not recover");
  ASSERT_TRUE(cluster_->network().cut("north", "east"));
  expect_until([&] { return said("stalled") == 2; }, "replies get through");
  ASSERT_TRUE(cluster_->network().heal_all());
  expect_until([&] { return said("recovered") == 2; }, "calls do not recover");
  expect_progress();
}

TEST_F(ClusterReal, LeavesNothingBehind) {
  if (auto able = Network::supported(); !able) GTEST_SKIP() << able.error().message;
  ClusterOptions options;
  options.network = Network::namespaces;
  start(std::move(options));
  const std::string folder = cluster_->folder();
  const pid_t pids[] = {cluster_->agent("north").pid(), cluster_->agent("east").pid(),
                        server_->process.pid(), caller_->process.pid()};
  const std::uint64_t space = inode_of(cluster_->network().namespaces_of("north").back());
  EXPECT_TRUE(is_used(space));
  crew_.reset();
  cluster_.reset();
  for (const pid_t pid : pids) EXPECT_FALSE(is_alive(pid));
  EXPECT_TRUE(eventually([&] { return !is_used(space); }));
  EXPECT_NE(::access(folder.c_str(), F_OK), 0);
}

}  // namespace
