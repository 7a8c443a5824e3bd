// godwit stat and top over the counters of real processes.
#include <gtest/gtest.h>
#include <signal.h>
#include <termios.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "node/cli/cli_process.h"

namespace godwit::node::cli::test {
namespace {

class CliLive : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(node_.ready());
    echo_ = node_.bound({"echo", "demo/echo"});
  }
  std::string echo_pid() const { return std::to_string(echo_->pid()); }

  CliNode node_;
  std::unique_ptr<CliProcess> echo_;
};

TEST_F(CliLive, StatCountsWhatHappened) {
  for (int i = 0; i < 3; ++i) ASSERT_EQ(node_.godwit({"call", "demo/echo", "12345"}).status, 0);
  const Said said = node_.godwit({"stat", "--json"});
  ASSERT_EQ(said.status, 0) << said.errors;
  const auto processes = said.json()["processes"];
  ASSERT_EQ(processes.size(), 1U);
  EXPECT_EQ(processes[0]["pid"], echo_->pid());
  EXPECT_EQ(processes[0]["program"], "godwit echo");
  EXPECT_EQ(processes[0]["node"], "alpha");
  EXPECT_EQ(processes[0]["alive"], true);
  EXPECT_EQ(processes[0]["totals"]["answered"], 3);
  EXPECT_EQ(processes[0]["totals"]["endpoints"], 1);
  ASSERT_EQ(processes[0]["engines"].size(), 1U);

  // By its pid or its number, every counter in full.
  for (const std::string& which : {echo_pid(), processes[0]["process"].get<std::string>()}) {
    const Said detail = node_.godwit({"stat", which});
    EXPECT_EQ(detail.status, 0) << detail.errors;
    EXPECT_TRUE(detail.output.starts_with("godwit echo, pid " + echo_pid() + ", process "))
        << detail.output;
    for (const char* line : {"\nCOUNTER ", "\nanswered ", "\nback_pressure ", "ENGINE 0"})
      EXPECT_NE(detail.output.find(line), std::string::npos) << line << detail.output;
  }
  const Said table = node_.godwit({"stat"});
  EXPECT_NE(table.output.find("godwit echo"), std::string::npos) << table.output;
}

TEST_F(CliLive, StatNeedsNoAgent) {
  node_.agent().kill();
  const Said said = node_.godwit({"stat", echo_pid(), "--json"});
  EXPECT_EQ(said.status, 0) << said.errors;
  EXPECT_EQ(said.json()["processes"][0]["pid"], echo_->pid());
}

TEST_F(CliLive, StatOfNobodyIsAnError) {
  const Said said = node_.godwit({"stat", "999999999"});
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(said.errors.starts_with("godwit: not_found: ")) << said.errors;
  const Said nowhere = godwit_run({"stat", "--run", node_.folder() + "/none"});
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_TRUE(nowhere.errors.starts_with("godwit: not_found: ")) << nowhere.errors;
}

TEST_F(CliLive, StatWatchShowsRates) {
  const auto ping = node_.start({"ping", "demo/echo", "--interval", "0"});
  const Said said =
      node_.godwit({"stat", echo_pid(), "--watch", "100ms", "--count", "3", "--json"});
  ASSERT_EQ(said.status, 0) << said.errors;
  std::istringstream lines(said.output);
  std::string line;
  int intervals = 0;
  double fastest = 0;
  while (std::getline(lines, line)) {
    const auto rates = nlohmann::json::parse(line)["processes"][0]["rates"];
    EXPECT_GT(rates["seconds"].get<double>(), 0.05);
    fastest = std::max(fastest, rates["answered"].get<double>());
    ++intervals;
  }
  EXPECT_EQ(intervals, 3);
  EXPECT_GT(fastest, 0);
  const Said text = node_.godwit({"stat", "--watch", "20ms", "--count", "1"});
  EXPECT_NE(text.output.find("REQUESTS/s"), std::string::npos) << text.output;
  ping->signal(SIGINT);
  EXPECT_EQ(ping->wait(), 0) << ping->errors();
}

// How a terminal stands: what a program must give back.
tcflag_t local_modes(const CliProcess& process) {
  termios modes{};
  EXPECT_EQ(::tcgetattr(process.terminal(), &modes), 0);
  return modes.c_lflag & (ICANON | ECHO);
}

constexpr const char* kTaken = "\x1b[?1049h";
constexpr const char* kGivenBack = "\x1b[?25h\x1b[?1049l";

TEST_F(CliLive, TopIsALiveScreenThatQEnds) {
  const auto top = node_.start({"top", "--interval", "50ms"}, true);
  ASSERT_TRUE(top->wait_for_output("godwit echo"));
  EXPECT_NE(top->output().find(kTaken), std::string::npos);
  EXPECT_EQ(local_modes(*top), 0U);
  top->type("e");
  EXPECT_TRUE(top->wait_for_output("demo/echo  serving"));
  top->type("s");
  EXPECT_TRUE(top->wait_for_output("by bytes"));
  top->type(" ");
  EXPECT_TRUE(top->wait_for_output("PAUSED"));
  top->type("q");
  EXPECT_EQ(top->wait(), 0) << top->errors();
  EXPECT_TRUE(top->output().ends_with(kGivenBack));
  EXPECT_EQ(local_modes(*top), static_cast<tcflag_t>(ICANON | ECHO));
}

TEST_F(CliLive, TopGivesTheTerminalBackWhenInterrupted) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const auto top = node_.start({"top"}, true);
    ASSERT_TRUE(top->wait_for_output("godwit echo"));
    top->signal(signal);
    EXPECT_EQ(top->wait(), 0) << signal << top->errors();
    EXPECT_TRUE(top->output().ends_with(kGivenBack)) << signal;
    EXPECT_EQ(local_modes(*top), static_cast<tcflag_t>(ICANON | ECHO)) << signal;
  }
  // Ctrl-C, as a terminal gives it.
  const auto top = node_.start({"top"}, true);
  ASSERT_TRUE(top->wait_for_output("godwit echo"));
  top->type("\x03");
  EXPECT_EQ(top->wait(), 0);
}

TEST_F(CliLive, TopGivesTheTerminalBackWhileItIsSuspended) {
  const auto top = node_.start({"top", "--interval", "50ms"}, true);
  ASSERT_TRUE(top->wait_for_output("godwit echo"));
  top->signal(SIGTSTP);
  ASSERT_TRUE(top->wait_for_output(kGivenBack));
  top->wait_until_stopped();
  EXPECT_EQ(local_modes(*top), static_cast<tcflag_t>(ICANON | ECHO));
  top->signal(SIGCONT);
  // After it was given back it is taken again.
  ASSERT_TRUE(top->wait_for_output(std::string(kGivenBack) + kTaken));
  top->type("q");
  EXPECT_EQ(top->wait(), 0);
}

TEST_F(CliLive, TopWithoutATerminalPrintsLines) {
  const Said said = node_.godwit({"top", "--interval", "20ms", "--count", "2"});
  EXPECT_EQ(said.status, 0) << said.errors;
  EXPECT_EQ(said.output.find('\x1b'), std::string::npos);
  EXPECT_NE(said.output.find("godwit echo"), std::string::npos);
  std::size_t titles = 0;
  for (std::size_t at = 0; (at = said.output.find("PROGRAM", at)) != std::string::npos; ++at)
    ++titles;
  EXPECT_EQ(titles, 2U);
  const Said json = node_.godwit({"top", "--interval", "20ms", "--count", "1", "--json"});
  EXPECT_EQ(json.json()["processes"][0]["pid"], echo_->pid());
}

}  // namespace
}  // namespace godwit::node::cli::test
