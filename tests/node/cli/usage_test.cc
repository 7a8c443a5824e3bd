// What the command line says of itself, and to those who mistype. No agent.
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "node/cli/cli_process.h"

namespace godwit::node::cli::test {
namespace {

const std::vector<std::vector<std::string>> kCommands = {
    {"node", "ls"},
    {"dc", "create"},
    {"dc", "ls"},
    {"dc", "rm"},
    {"dc", "key", "export"},
    {"dc", "key", "import"},
    {"ls"},
    {"ps"},
    {"migrate"},
    {"drain"},
    {"migrations"},
    {"stat"},
    {"top"},
    {"call"},
    {"send"},
    {"notify"},
    {"wait"},
    {"receive"},
    {"echo"},
    {"ping"},
    {"perf", "server"},
    {"perf", "client"},
    {"fabric"},
    {"completion"},
};

TEST(CliUsage, EachCommandHasHelpWithExamples) {
  for (auto command : kCommands) {
    const std::string path = testing::PrintToString(command);
    command.push_back("--help");
    const Said said = godwit_run(command);
    EXPECT_EQ(said.status, 0) << path;
    for (const char* wanted : {"Examples:", "--json", "--run", "Usage:"})
      EXPECT_NE(said.output.find(wanted), std::string::npos) << path << " lacks " << wanted;
    EXPECT_EQ(said.errors, "") << path;
  }
}

// The list above is what the program has: a new command must be added to the tests.
TEST(CliUsage, HelpNamesEachFamily) {
  const Said said = godwit_run({"--help"});
  EXPECT_EQ(said.status, 0);
  for (const auto& command : kCommands)
    EXPECT_NE(said.output.find("\n  " + command.front() + " "), std::string::npos)
        << command.front();
  EXPECT_NE(said.output.find("Exit codes"), std::string::npos);
}

TEST(CliUsage, Version) {
  const Said said = godwit_run({"--version"});
  EXPECT_EQ(said.status, 0);
  EXPECT_FALSE(said.output.empty());
}

struct Wrong {
  std::vector<std::string> arguments;
  std::string complaint;
};

TEST(CliUsage, AWrongCommandLineIsToldAndDoesNothing) {
  const std::vector<Wrong> lines = {
      {{}, "subcommand"},
      {{"fly"}, "no command 'fly'"},
      {{"dc", "fly"}, "no command 'fly'"},
      {{"dc"}, "subcommand"},
      {{"call"}, "name is required"},
      {{"call", "noslash"}, "DC/NAME"},
      {{"call", "/x"}, "empty"},
      {{"call", "demo/"}, "empty"},
      {{"call", "demo/a\nb"}, "control"},
      {{"call", "demo/" + std::string(256, 'x')}, "255"},
      {{"call", "demo/\xff"}, "UTF-8"},
      {{"dc", "create", "a/b"}, "no '/'"},
      {{"dc", "create", ""}, "empty"},
      {{"ping", "demo/x", "--size", "12q"}, "12q"},
      {{"ping", "demo/x", "--interval", "soon"}, "soon"},
      {{"ping", "demo/x", "-c", "-1"}, "from 1 to"},
      {{"perf", "client", "demo/x", "--test", "fly"}, "fly"},
      {{"perf", "client", "demo/x", "--window", "0"}, "0"},
      {{"perf", "client", "demo/x", "--window", "257"}, "257"},
      {{"perf", "client", "demo/x", "--count", "0"}, "0"},
      {{"perf", "client", "demo/x", "--count", "5", "--seconds", "5"}, "excludes"},
      {{"perf", "client", "demo/x", "--polling", "--blocking"}, "excludes"},
      {{"call", "demo/x", "--transport", "pigeon"}, "pigeon"},
      {{"call", "demo/x", "text", "--file", "f"}, "excludes"},
      {{"notify", "demo/x", "0"}, "bits"},
      {{"notify", "demo/x", "many"}, "many"},
      {{"notify", "demo/x", "0x1ffffffffffffffff"}, "bits"},
      {{"top", "--interval", "1ms"}, "at least 10.0 ms"},
      {{"stat", "--watch", "0"}, "at least 10.0 ms"},
      {{"dc", "create", "x", "--max-endpoints", "5000000000"}, "from 1 to 4294967295"},
      {{"ls", "--nonsense"}, "--nonsense"},
      {{"migrate", "demo/x"}, "node is required"},
      {{"migrate", "noslash", "beta"}, "DC/NAME"},
      {{"migrate", "1:2.x", "beta"}, "DC/NAME"},
      {{"migrate", "demo/x", "be\nta"}, "control"},
      {{"migrate", "demo/x", "beta", "--timeout", "soon"}, "soon"},
      {{"drain"}, "node is required"},
      {{"migrations", "--past", "0"}, "from 1 to 200"},
      {{"migrations", "--abort", "12"}, "16 hexadecimal digits"},
      {{"migrations", "--abort", "0123456789abcdef", "--past", "3"}, "excludes"},
  };
  for (const Wrong& line : lines) {
    const std::string path = testing::PrintToString(line.arguments);
    const Said said = godwit_run(line.arguments);
    EXPECT_EQ(said.status, 2) << path << "\n" << said.errors;
    EXPECT_TRUE(said.errors.starts_with("godwit: ")) << path << "\n" << said.errors;
    EXPECT_NE(said.errors.find(line.complaint), std::string::npos) << path << "\n" << said.errors;
    EXPECT_EQ(said.output, "") << path;
  }
}

TEST(CliUsage, WithoutAnAgentEachCommandSaysWhatToDo) {
  const test_support::TemporaryFolder folder;
  const std::vector<std::vector<std::string>> commands = {
      {"node", "ls"},
      {"dc", "ls"},
      {"dc", "create", "x"},
      {"dc", "rm", "x"},
      {"dc", "key", "export", "x"},
      {"ls"},
      {"ps"},
      {"migrate", "demo/x", "beta"},
      {"drain", "beta"},
      {"migrations"},
      {"migrations", "--abort", "0123456789abcdef"},
      {"call", "demo/x"},
      {"send", "demo/x"},
      {"notify", "demo/x", "1"},
      {"wait", "demo/x"},
      {"receive", "demo/x"},
      {"echo", "demo/x"},
      {"ping", "demo/x"},
      {"perf", "server", "demo/x"},
      {"perf", "client", "demo/x"},
      {"fabric"},  // which asks nobody, unless told whom
      {"fabric", "beta"},
  };
  for (auto command : commands) {
    const std::string path = testing::PrintToString(command);
    command.insert(command.end(), {"--run", folder.path() + "/none"});
    const Said said = godwit_run(command);
    EXPECT_EQ(said.status, 1) << path;
    EXPECT_TRUE(said.errors.starts_with("godwit: agent_unavailable: ")) << path << said.errors;
    EXPECT_NE(said.errors.find("start godwitd"), std::string::npos) << path;
    EXPECT_EQ(said.output, "") << path;
  }
}

TEST(CliUsage, AFullDiskIsNoSuccess) {
  // /dev/full refuses what is written to it, as a full disk does.
  const std::string command = test_support::program_path("godwit") + " fabric";
  const int status = std::system((command + " > /dev/full 2> /dev/null").c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

TEST(CliFabric, ShowsWhatThisMachineOffers) {
  const Said said = godwit_run({"fabric", "--json"});
  ASSERT_EQ(said.status, 0) << said.errors;
  const auto document = said.json();
  EXPECT_EQ(document["max_message_bytes"], 16 << 20);
  std::size_t offered = 0;
  for (const auto& transport : document["transports"]) {
    const std::string name = transport["transport"];
    if (name == "shm" || name == "tcp") {
      EXPECT_TRUE(transport["offered"]) << transport;
      ++offered;
    }
    // Whatever is not offered has a reason.
    EXPECT_TRUE(transport["offered"] || transport["why_not"].is_string()) << transport;
  }
  EXPECT_EQ(offered, 2U);
  // Best first; what a program does not offer by itself comes last.
  EXPECT_EQ(document["transports"][0]["transport"], "shm");
  EXPECT_EQ(document["transports"][3]["transport"], "ucx");
  EXPECT_FALSE(document["transports"][3]["by_default"]);
  bool loopback = false;
  for (const auto& interface : document["interfaces"]) {
    loopback = loopback || interface["name"] == "lo";
    EXPECT_TRUE(interface["rdma_device"].is_null() || interface["rdma_device"].is_string());
  }
  EXPECT_TRUE(loopback);
  EXPECT_TRUE(document["devices"].is_array());
  const Said table = godwit_run({"fabric"});
  EXPECT_EQ(table.status, 0);
  EXPECT_NE(table.output.find("RDMA "), std::string::npos);
  EXPECT_NE(table.output.find("INTERFACE"), std::string::npos);
  EXPECT_NE(table.output.find("TRANSPORT"), std::string::npos);
  EXPECT_NE(table.output.find("locked memory"), std::string::npos);
}

TEST(CliCompletion, CompletesCommandsAndOptions) {
  const test_support::TemporaryFolder folder;
  const Said script = godwit_run({"completion"});
  ASSERT_EQ(script.status, 0);
  const std::string program = test_support::program_path("godwit");
  const auto complete = [&](const std::string& words, int position) {
    const std::string asked = "source <('" + program + "' completion); COMP_WORDS=(" + words +
                              "); COMP_CWORD=" + std::to_string(position) +
                              "; _godwit; echo \" ${COMPREPLY[*]} \" > '" + folder.path() +
                              "/said'";
    const std::string line = "bash -c '" + [&] {
      std::string quoted;
      for (const char c : asked) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
      return quoted;
    }() + "'";
    EXPECT_EQ(std::system(line.c_str()), 0) << line;
    std::ifstream said(folder.path() + "/said");
    std::string text;
    std::getline(said, text);
    return text;
  };
  EXPECT_EQ(complete("godwit pe", 1), " perf ");
  EXPECT_EQ(complete("godwit dc key ex", 3), " export ");
  EXPECT_EQ(complete("godwit mig", 1), " migrate migrations ");
  EXPECT_NE(complete("godwit perf client --t", 3).find(" --transport "), std::string::npos);
  EXPECT_EQ(complete("godwit nonsense --t", 2), "  ");
}

}  // namespace
}  // namespace godwit::node::cli::test
