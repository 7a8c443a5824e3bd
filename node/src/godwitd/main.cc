// godwitd: the daemon of a node. Flags over the configuration file over the defaults.
#include <google/protobuf/stubs/logging.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "agent/agent.h"
#include "agent/config.h"

namespace {

using godwit::Result;
using godwit::node::Agent;
using godwit::node::Config;
using godwit::node::ConfigSettings;

constexpr int kConfigurationError = 2;

struct CommandLine {
  std::string file;
  bool check = false;
  ConfigSettings flags;
};

void add_flags(CLI::App& app, CommandLine& line) {
  ConfigSettings& flags = line.flags;
  app.add_option("-c,--config", line.file, "configuration file (TOML); flags win over it");
  app.add_flag("--check", line.check, "check the configuration and end");
  app.add_option("--node", flags.node, "the node's name (default: the host's name)");
  app.add_option("--run", flags.run,
                 "run directory, one per agent (default: $GODWIT_RUN, /run/godwit, "
                 "$XDG_RUNTIME_DIR/godwit or /tmp/godwit-UID)");
  app.add_option("--state", flags.state,
                 "state directory (default: /var/lib/godwit, or ~/.local/state/godwit)");
  app.add_option("--directory", flags.directory,
                 "local:PATH (default: local:STATE/directory) or "
                 "zookeeper:HOST:PORT[,HOST:PORT...][/chroot]");
  app.add_option("--session-timeout", flags.session_timeout,
                 "after which the directory gives a silent agent up (default: 600ms local, 6s "
                 "zookeeper)");
  app.add_option("--listen-host", flags.listen_host,
                 "numeric address at which other nodes reach this one (default: 127.0.0.1)");
  app.add_option("--agent-port", flags.agent_port, "TCP port for other agents (default: 0, any)");
  app.add_option("--nice", flags.nice,
                 "the agent's scheduling priority, -20 to 19 (default: -10; without the right to "
                 "raise it, what it was started with)");
  app.add_option("--keys", flags.keys, "key directory (default: STATE/keys)");
  app.add_option("--log-level", flags.log_level,
                 "trace, debug, info, warn, error or off (default: info)");
  app.add_option("--reattach-grace", flags.reattach_grace,
                 "how long processes may take to come back after a restart (default: 2s)");
  app.add_option("--node-grace", flags.node_grace,
                 "how long a vanished node may take to come back (default: 500ms)");
  app.add_option("--create-dc", flags.create_dcs,
                 "make this DC and its key unless it exists; may be repeated");
}

Result<Config> read_config(const CommandLine& line) {
  ConfigSettings settings;
  if (!line.file.empty()) {
    auto loaded = godwit::node::load_config(line.file);
    if (!loaded) return tl::make_unexpected(std::move(loaded.error()));
    settings = std::move(*loaded);
  }
  settings.overlay(line.flags);
  return godwit::node::make_config(settings);
}

/// The clients of a server that moves wait for agents, and an agent that is kept waiting itself is
/// taken for lost. Threads inherit it: before the first.
void prioritize(Config& config) {
  config.programs_nice = ::getpriority(PRIO_PROCESS, 0);
  if (::setpriority(PRIO_PROCESS, 0, config.nice) != 0) {
    spdlog::debug("the agent's priority stays {}: {}", config.programs_nice, std::strerror(errno));
  }
}

int complain(const godwit::Error& error, int status) {
  std::fprintf(stderr, "godwitd: %s\n", error.message.c_str());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"The agent of a Godwit node", "godwitd"};
  CommandLine line;
  add_flags(app, line);
  CLI11_PARSE(app, argc, argv);

  auto config = read_config(line);
  if (!config) return complain(config.error(), kConfigurationError);
  if (line.check) {
    std::printf("the configuration is good: node %s, run %s, directory %s, keys %s\n",
                config->node.c_str(), config->run.c_str(), config->directory.to_string().c_str(),
                config->keys.c_str());
    return 0;
  }
  // Malformed bytes end their connection, with our own line; protobuf's would be anybody's to
  // provoke.
  google::protobuf::SetLogHandler(nullptr);
  spdlog::set_default_logger(spdlog::stderr_color_mt("godwitd"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::set_level(
      spdlog::level::from_str(config->log_level == "error" ? "err" : config->log_level));

  prioritize(*config);
  auto agent = Agent::create(std::move(*config));
  if (!agent) return complain(agent.error(), 1);
  if (auto ended = (*agent)->run(); !ended) return complain(ended.error(), 1);
  return 0;
}
