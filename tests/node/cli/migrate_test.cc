// godwit migrate, drain and migrations against two real agents, and processes that play their part.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "node/cli/cli_process.h"
#include "support/agent_process.h"

namespace godwit::node::cli::test {
namespace {

using test_support::ChildProcess;

class CliMigrate : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(node_.ready());
    test_support::AgentOptions options;
    options.node = "beta";
    options.run = node_.folder() + "/beta";
    options.directory = "local:" + node_.folder() + "/directory";
    options.state = node_.folder() + "/state";
    beta_ = test_support::AgentProcess::start(options);
    ASSERT_TRUE(beta_);
  }
  static bool wait(ChildProcess& player, const std::string& beginning) {
    while (const auto line = player.read_line()) {
      if (line->starts_with(beginning)) return true;
    }
    return false;
  }
  std::unique_ptr<ChildProcess> start_player(const std::string& run,
                                             std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(),
                     {test_support::program_path("godwit-test-move-player"), "--run", run});
    return std::make_unique<ChildProcess>(arguments);
  }
  std::unique_ptr<ChildProcess> start_server(const std::string& name,
                                             std::vector<std::string> arguments = {}) const {
    auto server = start_player(node_.run(), std::move(arguments));
    server->write_line("bind demo " + name + " kv");
    EXPECT_TRUE(wait(*server, "bound "));
    return server;
  }
  std::unique_ptr<ChildProcess> start_standby(std::vector<std::string> arguments = {}) const {
    arguments.insert(arguments.end(), {"--program", "kv"});
    auto standby = start_player(beta_->run(), std::move(arguments));
    EXPECT_TRUE(wait(*standby, "stands by"));
    return standby;
  }
  CliNode node_;
  std::unique_ptr<test_support::AgentProcess> beta_;
};

TEST_F(CliMigrate, SaysHowItWent) {
  const auto server = start_server("kv");
  const auto standby = start_standby();
  const Said said = node_.godwit({"migrate", "demo/kv", "beta"});
  EXPECT_EQ(said.status, 0) << said.errors;
  EXPECT_TRUE(said.output.starts_with(
      "moved demo/kv from alpha to beta: blackout 1.54 ms, 1.00 MiB in 2 rounds\n"
      "steps: copied 5.00 ms, closed 40.0 us, transferred 300 us, restored 250 us, committed "))
      << said.output;

  const Said listed = node_.godwit({"migrations", "--past", "5", "--json"});
  ASSERT_EQ(listed.status, 0) << listed.errors;
  const auto moves = listed.json()["migrations"];
  ASSERT_EQ(moves.size(), 1U);
  EXPECT_EQ(moves[0]["state"], "committed");
  EXPECT_EQ(moves[0]["from"], "alpha");
  EXPECT_EQ(moves[0]["to"], "beta");
  EXPECT_EQ(moves[0]["members"][0]["name"], "demo/kv");
  EXPECT_EQ(moves[0]["blackout_us"], 1540);
  EXPECT_TRUE(moves[0]["abort_reason"].is_null());
  EXPECT_EQ(node_.godwit({"migrations", "--json"}).json()["migrations"].size(), 0U);
  const Said table = node_.godwit({"migrations", "--past", "5"});
  EXPECT_TRUE(table.output.starts_with("ID ")) << table.output;
  EXPECT_NE(table.output.find("  demo/kv   alpha  beta  committed"), std::string::npos)
      << table.output;
}

TEST_F(CliMigrate, JsonHasTheWholeRecord) {
  const auto server = start_server("kv");
  const auto standby = start_standby();
  const auto id = node_.godwit({"ls", "--json"}).json()["endpoints"][0]["id"];
  const Said said = node_.godwit({"migrate", id.get<std::string>(), "beta", "--json"});
  ASSERT_EQ(said.status, 0) << said.errors;
  const auto move = said.json()["migration"];
  EXPECT_EQ(move["state"], "committed");
  EXPECT_EQ(move["members"][0]["id"], id);
  EXPECT_EQ(move["program"], "kv");
  EXPECT_EQ(move["id"].get<std::string>().size(), 16U);
  EXPECT_GT(move["committed_us"].get<int>(), 0);
  EXPECT_EQ(move["sent_bytes"], 1 << 20);
}

TEST_F(CliMigrate, AnAbortIsAFailureWithTheReason) {
  const auto server = start_server("kv", {"--hold", "converged"});
  const auto standby = start_standby();
  const auto command = node_.start({"migrate", "demo/kv", "beta", "--json"});
  ASSERT_TRUE(wait(*server, "holds converged"));
  server->write_line("say cannot 9 it tore");
  EXPECT_EQ(command->wait(), 1);
  EXPECT_NE(command->errors().find("was aborted by node alpha: the transfer failed: it tore"),
            std::string::npos)
      << command->errors();
  const auto document = nlohmann::json::parse(command->output());
  EXPECT_EQ(document["migration"]["state"], "aborted");
  EXPECT_EQ(document["migration"]["aborted_by"], "alpha");
}

TEST_F(CliMigrate, ARefusalSaysWhatToDo) {
  const auto server = start_server("kv");
  const Said said = node_.godwit({"migrate", "demo/kv", "beta"});
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(
      said.errors.starts_with("godwit: invalid_argument: demo/kv: node 'beta' does not "
                              "have the program 'kv'"))
      << said.errors;
}

TEST_F(CliMigrate, CtrlCLeavesTheMoveGoing) {
  const auto server = start_server("kv", {"--hold", "converged"});
  const auto standby = start_standby();
  const auto command = node_.start({"migrate", "demo/kv", "beta"});
  ASSERT_TRUE(wait(*server, "holds converged"));
  command->signal(SIGINT);
  EXPECT_EQ(command->wait(), 1);
  EXPECT_NE(command->errors().find("the move goes on"), std::string::npos) << command->errors();
  const Said timed = node_.godwit({"migrations", "--json"});
  ASSERT_EQ(timed.json()["migrations"].size(), 1U);
  const std::string id = timed.json()["migrations"][0]["id"];
  EXPECT_EQ(timed.json()["migrations"][0]["state"], "prepared");

  const Said given_up = node_.godwit({"migrations", "--abort", id});
  EXPECT_EQ(given_up.status, 0) << given_up.errors;
  EXPECT_EQ(given_up.output, "gave up move " + id + "\n");
  EXPECT_TRUE(wait(*server, "order resume"));
  const Said again = node_.godwit({"migrations", "--abort", id});
  EXPECT_EQ(again.status, 1);
  EXPECT_NE(again.errors.find("has ended: it was aborted"), std::string::npos) << again.errors;
}

TEST_F(CliMigrate, TheTimeThatIsGivenIsKept) {
  const auto server = start_server("kv", {"--hold", "converged"});
  const auto standby = start_standby();
  const Said said = node_.godwit({"migrate", "demo/kv", "beta", "--timeout", "200ms"});
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(said.errors.starts_with("godwit: deadline_exceeded: ")) << said.errors;
  EXPECT_NE(said.errors.find("the move goes on"), std::string::npos) << said.errors;
}

TEST_F(CliMigrate, ATerminalShowsHowFarItIs) {
  const auto server = start_server("kv", {"--hold", "converged"});
  const auto standby = start_standby();
  const auto command = node_.start({"migrate", "demo/kv", "beta"}, true);
  EXPECT_TRUE(command->wait_for_output(
      "demo/kv to beta: copying: round 2, 1.00 MiB sent, 1.00 KiB left, 5.00 MiB/s"))
      << command->output();
  server->write_line("say converged");
  EXPECT_TRUE(command->wait_for_output("moved demo/kv from alpha to beta: blackout 1.54 ms"))
      << command->output();
  EXPECT_EQ(command->wait(), 0);
}

TEST_F(CliMigrate, DrainWaitsAndSaysWhatStays) {
  const auto server = start_server("kv");
  server->write_line("bind demo fixed");
  ASSERT_TRUE(wait(*server, "bound "));
  const auto standby = start_standby();
  const Said said = node_.godwit({"drain", "alpha"});
  EXPECT_EQ(said.status, 0) << said.errors;
  EXPECT_TRUE(said.output.starts_with("moved demo/kv from alpha to beta")) << said.output;
  EXPECT_NE(said.output.find("demo/fixed stays: the program did not say how it can move"),
            std::string::npos)
      << said.output;

  // What could move and has nowhere to go is a failure.
  const auto other = start_server("kv/2");
  const Said stuck = node_.godwit({"drain", "alpha", "--json"});
  EXPECT_EQ(stuck.status, 1);
  EXPECT_NE(stuck.errors.find("not all that can move has left node alpha: 1 endpoint stays"),
            std::string::npos)
      << stuck.errors;
  EXPECT_EQ(stuck.json()["migrations"].size(), 0U);
  EXPECT_EQ(stuck.json()["stay"].size(), 2U);
  const Said unknown = node_.godwit({"drain", "nowhere"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_NE(unknown.errors.find("there is no node 'nowhere'"), std::string::npos) << unknown.errors;
}

}  // namespace
}  // namespace godwit::node::cli::test
