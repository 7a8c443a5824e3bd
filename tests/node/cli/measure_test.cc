// godwit ping and perf between real processes. What is measured is not judged, only that it is
// whole and consistent.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "node/cli/cli_process.h"

namespace godwit::node::cli::test {
namespace {

void expect_latency(const nlohmann::json& latency, std::uint64_t count) {
  EXPECT_EQ(latency["count"], count);
  std::uint64_t before = latency["min_ns"];
  EXPECT_GT(before, 0U);
  for (const char* each : {"p50_ns", "p90_ns", "p99_ns", "p99.9_ns", "max_ns"}) {
    ASSERT_TRUE(latency.contains(each)) << each;
    EXPECT_GE(latency[each].get<std::uint64_t>(), before) << each;
    before = latency[each];
  }
}

class CliPing : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(node_.ready()); }
  CliNode node_;
};

TEST_F(CliPing, ReportsPercentiles) {
  const auto echo = node_.bound({"echo", "demo/echo"});
  for (const char* transport : {"shm", "tcp"}) {
    const Said said = node_.godwit({"ping", "demo/echo", "-c", "20", "--interval", "0", "--size",
                                    "1k", "--transport", transport, "--json"});
    ASSERT_EQ(said.status, 0) << said.errors;
    const auto document = said.json();
    EXPECT_EQ(document["sent"], 20);
    EXPECT_EQ(document["received"], 20);
    EXPECT_EQ(document["size"], 1024);
    EXPECT_EQ(document["transport"], transport);
    expect_latency(document["latency"], 20);
  }
  const Said lines = node_.godwit({"ping", "demo/echo", "-c", "3", "--interval", "1ms"});
  EXPECT_EQ(lines.status, 0) << lines.errors;
  EXPECT_NE(lines.output.find("56 bytes from demo/echo: seq=3 time="), std::string::npos)
      << lines.output;
  EXPECT_NE(lines.output.find("3 sent, 3 received, 0 % lost\nround trip: min "), std::string::npos)
      << lines.output;
  const Said quiet = node_.godwit({"ping", "demo/echo", "-q", "-c", "2", "--interval", "1ms"});
  EXPECT_TRUE(quiet.output.starts_with("2 sent, ")) << quiet.output;
}

TEST_F(CliPing, CtrlCEndsWithTheSummary) {
  const auto echo = node_.bound({"echo", "demo/echo"});
  const auto ping = node_.start({"ping", "demo/echo", "--interval", "30s"});
  ASSERT_TRUE(ping->wait_for_output("seq=1 "));
  ping->signal(SIGINT);
  EXPECT_EQ(ping->wait(), 0) << ping->errors();
  EXPECT_NE(ping->output().find("1 sent, 1 received"), std::string::npos) << ping->output();
}

TEST_F(CliPing, TellsAServerThatIsNoEcho) {
  const auto receiver = node_.bound({"receive", "demo/log", "--reply", "something else"});
  const Said said = node_.godwit({"ping", "demo/log", "-c", "2", "--interval", "0"});
  EXPECT_EQ(said.status, 1);
  EXPECT_NE(said.output.find("2 not an echo"), std::string::npos) << said.output;
  EXPECT_NE(said.errors.find("no echo server"), std::string::npos) << said.errors;
  EXPECT_EQ(node_.godwit({"ping", "demo/log", "--size", "17m"}).status, 1);
}

class CliPerf : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(node_.ready());
    server_ = node_.bound({"perf", "server", "demo/perf", "--json"});
  }

  nlohmann::json measure(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"perf", "client", "demo/perf", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Said said = node_.godwit(arguments);
    EXPECT_EQ(said.status, 0) << said.errors;
    return said.json();
  }

  CliNode node_;
  std::unique_ptr<CliProcess> server_;
};

TEST_F(CliPerf, Call) {
  for (const char* transport : {"shm", "tcp"}) {
    for (const char* window : {"1", "16"}) {
      const auto said = measure({"--test", "call", "--count", "500", "--size", "64", "--window",
                                 window, "--transport", transport});
      EXPECT_EQ(said["transport"], transport);
      EXPECT_EQ(said["window"], std::stoi(window));
      ASSERT_EQ(said["runs"].size(), 1U);
      const auto& run = said["runs"][0];
      EXPECT_EQ(run["operations"], 500);
      EXPECT_EQ(run["bytes"], 500 * 64);
      EXPECT_GT(run["seconds"].get<double>(), 0);
      EXPECT_GT(run["operations_per_s"].get<double>(), 0);
      expect_latency(run["latency"], 500);
    }
  }
}

TEST_F(CliPerf, Pingpong) {
  for (const char* waiting : {"--blocking", "--polling"}) {
    const auto said = measure({"--test", "pingpong", "--count", "200", waiting});
    EXPECT_EQ(said["waiting"], std::string(waiting).substr(2));
    EXPECT_EQ(said["runs"][0]["operation"], "pingpong");
    expect_latency(said["runs"][0]["latency"], 200);
  }
}

TEST_F(CliPerf, StreamIsCountedByTheServer) {
  for (const char* transport : {"shm", "tcp"}) {
    // Without room for a number, copied into frames, and handed over by reference.
    for (const std::uint64_t size : {0UL, 64UL, 100'000UL}) {
      const auto said = measure({"--test", "stream", "--count", "2000", "--size",
                                 std::to_string(size), "--transport", transport});
      EXPECT_EQ(said["verified"], true);
      EXPECT_GE(said["runs"][0]["operations"], 2000);
      EXPECT_EQ(said["runs"][0]["bytes"],
                said["runs"][0]["operations"].get<std::uint64_t>() * size);
    }
  }
}

TEST_F(CliPerf, CopyVerifiesTheBytes) {
  for (const char* transport : {"shm", "tcp"}) {
    const auto said =
        measure({"--test", "copy", "--count", "3", "--size", "3000001", "--transport", transport});
    EXPECT_EQ(said["verified"], true);
    ASSERT_EQ(said["runs"].size(), 2U);
    EXPECT_EQ(said["runs"][0]["operation"], "copy_to");
    EXPECT_EQ(said["runs"][1]["operation"], "copy_from");
    EXPECT_EQ(said["runs"][1]["bytes"], 9'000'003);
  }
  EXPECT_EQ(measure({"--test", "copy", "--count", "1", "--direction", "from"})["runs"].size(), 1U);
}

TEST_F(CliPerf, Sizes) {
  const Said message = node_.godwit({"perf", "client", "demo/perf", "--size", "17m"});
  EXPECT_EQ(message.status, 1);
  EXPECT_TRUE(message.errors.starts_with("godwit: too_large: ")) << message.errors;
  const Said copy = node_.godwit({"perf", "client", "demo/perf", "--test", "copy", "--size", "5g"});
  EXPECT_EQ(copy.status, 1);
  EXPECT_TRUE(copy.errors.starts_with("godwit: too_large: ")) << copy.errors;
  const Said nothing =
      node_.godwit({"perf", "client", "demo/perf", "--test", "copy", "--size", "0"});
  EXPECT_EQ(nothing.status, 1);
  EXPECT_NE(nothing.errors.find("nothing to copy"), std::string::npos) << nothing.errors;
}

TEST_F(CliPerf, TextSaysWhatWasMeasured) {
  const Said said = node_.godwit(
      {"perf", "client", "demo/perf", "--test", "pingpong", "--count", "50", "--transport", "shm"});
  EXPECT_EQ(said.status, 0) << said.errors;
  EXPECT_TRUE(said.output.starts_with("pingpong with demo/perf over shm, 64 B, adaptive\n"))
      << said.output;
  EXPECT_NE(said.output.find("half of it, one way"), std::string::npos) << said.output;
}

TEST_F(CliPerf, EndsEarlyByCtrlCWithWhatItHas) {
  const auto client = node_.start({"perf", "client", "demo/perf", "--seconds", "1h", "--json"});
  // It is under way once its calls show in the server's counters.
  bool seen = false;
  for (int look = 0; look < 2000 && !seen; ++look) {
    const Said stat = node_.godwit({"stat", std::to_string(server_->pid()), "--json"});
    ASSERT_EQ(stat.status, 0) << stat.errors;
    seen = stat.json()["processes"][0]["totals"]["answered"] > 200;
  }
  ASSERT_TRUE(seen);
  client->signal(SIGINT);
  EXPECT_EQ(client->wait(), 0) << client->errors();
  EXPECT_GT(nlohmann::json::parse(client->output())["runs"][0]["operations"], 0);
}

TEST_F(CliPerf, ServesClientsOneAfterTheOther) {
  const std::string large = "16m";
  for (int i = 0; i < 3; ++i)
    measure({"--test", "copy", "--count", "1", "--size", large, "--direction", "to"});
  EXPECT_EQ(node_.godwit({"ping", "demo/perf", "-c", "2", "--interval", "0"}).status, 0);
  server_->signal(SIGTERM);
  EXPECT_EQ(server_->wait(), 0) << server_->errors();
  const auto totals = nlohmann::json::parse(server_->output());
  EXPECT_EQ(totals["clients"], 3);
  EXPECT_GE(totals["requests"], 3 * 3 + 2);
}

TEST_F(CliPerf, NeedsItsServer) {
  const auto receiver = node_.bound({"receive", "demo/log", "--reply", "no"});
  for (const char* test : {"call", "stream", "copy"}) {
    const Said said = node_.godwit({"perf", "client", "demo/log", "--test", test, "--count", "1"});
    EXPECT_EQ(said.status, 1) << test;
    EXPECT_TRUE(said.errors.starts_with("godwit: protocol_error: ")) << said.errors;
  }
}

}  // namespace
}  // namespace godwit::node::cli::test
