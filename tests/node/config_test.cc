#include "agent/config.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "support/agent_process.h"

namespace godwit::node {
namespace {

using namespace std::chrono_literals;

Result<Config> from(std::string_view text) {
  auto settings = parse_config(text, "test.toml");
  if (!settings) return tl::make_unexpected(std::move(settings.error()));
  return make_config(*settings);
}

TEST(Config, ReadsEveryKey) {
  const auto config = from(R"(
node = "n1"
run = "/run/here"
state = "/state"
directory = "zookeeper:a:2181,[::1]:2182/prod"
directory_credentials = "user:secret"
session_timeout = "8s"
listen_host = "10.0.0.1"
agent_port = 4711
nice = 5
keys = "/keys"
log_level = "debug"
reattach_grace = "3s"
node_grace = "250ms"
create_dcs = ["a", "b"]

[moves]
prepare_limit = "2m"
blackout_limit = "500ms"

[programs.kv]
command = ["/usr/bin/kv", "--port", "5"]
[programs."web server"]
command = ["/web"]
)");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->node, "n1");
  EXPECT_EQ(config->run, "/run/here");
  EXPECT_EQ(config->state, "/state");
  EXPECT_EQ(config->directory.kind, DirectorySpec::Kind::zookeeper);
  EXPECT_EQ(config->directory.location, "a:2181,[::1]:2182/prod");
  EXPECT_EQ(config->directory_credentials, "user:secret");
  EXPECT_EQ(config->session_timeout, 8s);
  EXPECT_EQ(config->listen_host, "10.0.0.1");
  EXPECT_EQ(config->agent_port, 4711);
  EXPECT_EQ(config->nice, 5);
  EXPECT_EQ(config->keys, "/keys");
  EXPECT_EQ(config->log_level, "debug");
  EXPECT_EQ(config->reattach_grace, 3s);
  EXPECT_EQ(config->node_grace, 250ms);
  EXPECT_EQ(config->create_dcs, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(config->prepare_limit, 2min);
  EXPECT_EQ(config->blackout_limit, 500ms);
  ASSERT_EQ(config->programs.size(), 2u);
  EXPECT_EQ(config->programs.at("kv"), (std::vector<std::string>{"/usr/bin/kv", "--port", "5"}));
  EXPECT_EQ(config->programs.at("web server"), std::vector<std::string>{"/web"});
}

TEST(Config, HasDefaultsForAll) {
  const auto config = from("state = \"/state\"");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_FALSE(config->node.empty());
  EXPECT_EQ(config->directory.to_string(), "local:/state/directory");
  EXPECT_EQ(config->keys, "/state/keys");
  EXPECT_EQ(config->session_timeout, 600ms);
  EXPECT_EQ(config->listen_host, "127.0.0.1");
  EXPECT_EQ(config->nice, -10);
  EXPECT_EQ(config->prepare_limit, 30s);
  EXPECT_EQ(config->blackout_limit, 10s);
  EXPECT_EQ(from("directory = \"zookeeper:a:1\"")->session_timeout, 6s);
}

TEST(Config, FlagsWinOverTheFile) {
  ConfigSettings file, flags;
  file.node = "file";
  file.run = "/file";
  file.create_dcs = {"file"};
  flags.node = "flag";
  flags.agent_port = 5;
  file.overlay(flags);
  EXPECT_EQ(*file.node, "flag");
  EXPECT_EQ(*file.run, "/file");
  EXPECT_EQ(*file.agent_port, 5);
  EXPECT_EQ(file.create_dcs.size(), 1u);
}

struct Bad {
  const char* text;
  const char* says;
};

class BadConfig : public ::testing::TestWithParam<Bad> {};

TEST_P(BadConfig, IsRefusedWithAReason) {
  const auto config = from(GetParam().text);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, Errc::invalid_argument);
  EXPECT_NE(config.error().message.find(GetParam().says), std::string::npos)
      << config.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Each, BadConfig,
    ::testing::Values(
        Bad{"node = \"a\"\n\nnoed = 1", "test.toml:3:1: unknown key 'noed'"},
        Bad{"node = 5", "test.toml:1:8: node must be a string"}, Bad{"node = \"a", "test.toml:1"},
        Bad{"node = \"a\"\nnode = \"b\"", "test.toml:2"},
        Bad{"[node]\na = 1", "node must be a string"}, Bad{"node = \"\"", "node's name"},
        Bad{"node = \"a\\u0007\"", "node's name"}, Bad{"run = \"\"", "run is empty"},
        Bad{"run = \"a\\u0000b\"", "NUL"}, Bad{"agent_port = \"1\"", "agent_port must be a number"},
        Bad{"agent_port = 70000", "65535"}, Bad{"agent_port = -1", "65535"},
        Bad{"nice = -21", "-20"}, Bad{"nice = \"high\"", "nice must be a number"},
        Bad{"create_dcs = [1]", "list of strings"}, Bad{"create_dcs = [\"a/b\"]", "'/'"},
        Bad{"directory = \"etcd:x\"", "kind is unknown"},
        Bad{"directory = \"local:\"", "path is missing"},
        Bad{"directory = \"zookeeper:a\"", "HOST:PORT"},
        Bad{"directory = \"zookeeper:a:1,\"", "HOST:PORT"},
        Bad{"directory = \"zookeeper:a:99999\"", "port"},
        Bad{"directory = \"zookeeper:a b:1\"", "odd characters"},
        Bad{"session_timeout = \"fast\"", "write a time as"},
        Bad{"session_timeout = \"1ms\"", "must be from"},
        Bad{"session_timeout = \"99999999999999999999s\"", "write a time as"},
        Bad{"listen_host = \"example.org\"", "numeric"}, Bad{"moves = 5", "moves must be a table"},
        Bad{"[moves]\nlimit = 1", "test.toml:2:1: unknown key 'limit' of moves"},
        Bad{"[moves]\nprepare_limit = 5", "moves.prepare_limit must be a string"},
        Bad{"[moves]\nprepare_limit = \"soon\"", "moves.prepare_limit is 'soon': write a time as"},
        Bad{"[moves]\nprepare_limit = \"99ms\"", "moves.prepare_limit is '99ms': it must be from"},
        Bad{"[moves]\nblackout_limit = \"1ms\"", "moves.blackout_limit is '1ms': it must be from"},
        Bad{"[moves]\nblackout_limit = \"11m\"", "must be from 100ms to 600000ms"},
        Bad{"programs = 5", "programs must be a table of programs"},
        Bad{"[programs]\nkv = \"/kv\"", "test.toml:2:6: programs.kv must be a table"},
        Bad{"[programs.kv]\nargs = []", "test.toml:2:1: unknown key 'args' of programs.kv"},
        Bad{"[programs.kv]", "programs.kv must be a table with a command"},
        Bad{"[programs.kv]\ncommand = \"/kv\"", "list of strings"},
        Bad{"[programs.kv]\ncommand = []", "is empty"},
        Bad{"[programs.kv]\ncommand = [\"kv\"]", "must begin with '/'"},
        Bad{"[programs.\"\"]\ncommand = [\"/kv\"]", "program's name"},
        Bad{"listen_host = \"0.0.0.0\"", "numeric"}, Bad{"log_level = \"loud\"", "trace, debug"}));

TEST(ConfigFile, IsRefusedWhenItCannotBeOne) {
  const test_support::TemporaryFolder folder;
  EXPECT_FALSE(load_config(folder.path() + "/none"));
  EXPECT_EQ(load_config(folder.path()).error().code, Errc::invalid_argument);
  const std::string pipe = folder.path() + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(load_config(pipe).error().code, Errc::invalid_argument);
  const std::string large = folder.path() + "/large";
  std::ofstream(large) << std::string(2u << 20, '#');
  EXPECT_EQ(load_config(large).error().code, Errc::too_large);
}

}  // namespace
}  // namespace godwit::node
