// Runs the examples as their comments say, with a real agent.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "local_cluster/child_process.h"
#include "local_cluster/cluster.h"

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::ChildProcess;
using godwit::local_cluster::Cluster;
using godwit::local_cluster::program_folder;

constexpr auto kLimit = 30s;

class ExamplesReal : public ::testing::Test {
 protected:
  void SetUp() override {
    auto cluster =
        Cluster::start({.nodes = {"here"}, .dc = "demo", .programs = {}, .zookeeper = {}});
    ASSERT_TRUE(cluster) << cluster.error().to_string();
    cluster_.emplace(std::move(*cluster));
  }
  void TearDown() override {
    if (!cluster_) return;
    EXPECT_EQ(cluster_->stop(), std::vector<std::string>{});
  }

  ChildProcess start(std::vector<std::string> command) {
    command[0] = program_folder() + "/" + command[0];
    auto child = ChildProcess::start(
        std::move(command),
        {.environment = {{"GODWIT_RUN", cluster_->runtime_directory("here")}}, .error_file = {}});
    EXPECT_TRUE(child) << child.error().to_string();
    return std::move(*child);
  }
  // A server, once it has said that it serves.
  ChildProcess start_server(std::vector<std::string> command) {
    auto child = start(std::move(command));
    EXPECT_TRUE(child.wait_line(kLimit)) << "the server said nothing";
    return child;
  }
  struct Outcome {
    std::string output;
    int code;
  };
  Outcome run(std::vector<std::string> command) {
    auto child = start(std::move(command));
    Outcome outcome{{}, -1};
    while (auto line = child.wait_line(kLimit)) outcome.output += *line + "\n";
    if (const auto status = child.wait(kLimit)) outcome.code = status->code;
    return outcome;
  }
  static void expect_clean_stop(ChildProcess& server) {
    const auto status = server.stop(5s);
    EXPECT_TRUE(status.ok()) << status.to_string();
  }

  std::optional<Cluster> cluster_;
};

TEST_F(ExamplesReal, EchoRepeatsWhatItWasTold) {
  auto server = start_server({"example_echo", "server"});
  const auto reply = run({"example_echo", "client", "hello, godwit"});
  EXPECT_EQ(reply.output, "hello, godwit\n");
  EXPECT_EQ(reply.code, 0);
  expect_clean_stop(server);
  EXPECT_EQ(run({"example_echo"}).code, 2);
}

TEST_F(ExamplesReal, KeyValueStoreStoresRemovesAndNotifies) {
  auto server = start_server({"example_kv", "server"});
  EXPECT_EQ(run({"example_kv", "get", "bird"}).output, "(none)\n");
  EXPECT_EQ(run({"example_kv", "put", "bird", "godwit"}).code, 0);
  EXPECT_EQ(run({"example_kv", "get", "bird"}).output, "godwit\n");

  auto watcher = start({"example_kv", "watch", "bird", "1"});
  EXPECT_EQ(watcher.wait_line(kLimit), "watching bird");
  EXPECT_EQ(run({"example_kv", "put", "bird", "knot"}).code, 0);
  EXPECT_EQ(watcher.wait_line(kLimit), "knot");
  EXPECT_TRUE(watcher.wait(kLimit).value().ok());

  const auto counted = run({"example_kv", "count", "calls", "100"});
  EXPECT_EQ(counted.code, 0) << counted.output;
  EXPECT_EQ(counted.output.rfind("100 calls, each executed once", 0), 0u) << counted.output;
  EXPECT_EQ(run({"example_kv", "add", "calls"}).output, "101\n");

  EXPECT_EQ(run({"example_kv", "del", "bird"}).code, 0);
  EXPECT_EQ(run({"example_kv", "del", "bird"}).code, 1);
  EXPECT_EQ(run({"example_kv", "get", "bird"}).code, 1);
  expect_clean_stop(server);
}

TEST_F(ExamplesReal, BulkCopyIsRightAndRightsAreKept) {
  auto server = start_server({"example_bulk", "server", "8"});
  const auto copied = run({"example_bulk", "client"});
  EXPECT_EQ(copied.code, 0) << copied.output;
  EXPECT_NE(copied.output.find(" 0 words wrong"), std::string::npos) << copied.output;
  EXPECT_NE(copied.output.find("permission_denied"), std::string::npos) << copied.output;
  expect_clean_stop(server);
}

TEST_F(ExamplesReal, CoroutinesAllGetTheirReplies) {
  const auto outcome = run({"example_coroutine", "50", "20"});
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_EQ(outcome.output.rfind("1000 right, 0 wrong", 0), 0u) << outcome.output;
}

// Whatever happens, the demonstration leaves nothing behind.
TEST_F(ExamplesReal, AnInterruptedDemoCleansUp) {
  auto folder = godwit::local_cluster::TemporaryDirectory::make("godwit-test");
  ASSERT_TRUE(folder);
  auto demo = ChildProcess::start({program_folder() + "/godwit-demo", "--seconds", "30"},
                                  {.environment = {{"TMPDIR", folder->path()}}, .error_file = {}});
  ASSERT_TRUE(demo);
  bool traffic = false;
  while (!traffic) {
    const auto line = demo->wait_line(kLimit);
    ASSERT_TRUE(line) << "no traffic";
    traffic = line->find("calls over shm") != std::string::npos;
  }
  EXPECT_FALSE(std::filesystem::is_empty(folder->path()));
  demo->signal(SIGINT);
  const auto status = demo->wait(kLimit);
  ASSERT_TRUE(status) << "still running";
  EXPECT_EQ(status->code, 130) << status->to_string();
  EXPECT_TRUE(std::filesystem::is_empty(folder->path()));
}

}  // namespace
