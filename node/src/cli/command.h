// How a command of `godwit` is made: what all of them share.
//
// main() builds one Context and asks each family of commands to add itself to the parser. Parsing
// stores what was given and the action of the command that was named; main() then runs that action
// and turns its error into a message and an exit code. One thread.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "cli/output.h"
#include "godwit/error.h"

namespace godwit::node::cli {

/// As documented in docs/cli.md.
enum ExitCode : int { kOk = 0, kFailed = 1, kUsage = 2 };

struct Context {
  std::string run;  // the agent's runtime directory; empty: the default
  bool json = false;
  std::function<Result<void>()> action;  // of the command that was named
};

struct CommandText {
  std::string name;
  std::string summary;   // one line, shown by the parent's --help
  std::string details;   // what else there is to know; may be empty
  std::string examples;  // one per line
};

/// Adds a command with --run and --json, which then runs `action`.
CLI::App* add_command(CLI::App& parent, Context& context, const CommandText& text,
                      std::function<Result<void>()> action);

/// Adds a command that only holds others.
CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& summary);

/// Options with units; a bad value is a usage error with the sentence of parse_size() or
/// parse_duration(). `target` holds the default.
CLI::Option* add_size(CLI::App* command, const std::string& name, std::uint64_t& target,
                      const std::string& help);
CLI::Option* add_duration(CLI::App* command, const std::string& name,
                          std::chrono::nanoseconds& target, const std::string& help,
                          std::chrono::nanoseconds at_least = {});

/// A number from 1 to `limit`.
CLI::Option* add_count(CLI::App* command, const std::string& name, std::uint64_t& target,
                       const std::string& help,
                       std::uint64_t limit = std::numeric_limits<std::uint64_t>::max());

/// Any other argument that `check` accepts or refuses with a sentence, while parsing.
CLI::Validator checked_by(std::function<Result<void>(const std::string&)> check);

/// A full endpoint name ("demo/web/fs"), checked while parsing.
CLI::Option* add_endpoint_name(CLI::App* command, std::string& target, const std::string& help);
/// A DC's name, checked while parsing.
CLI::Option* add_dc_name(CLI::App* command, const std::string& option, std::string& target,
                         const std::string& help);

/// Of this build, "0.1.0".
std::string_view version() noexcept;

// The families, each in its command_FAMILY.cc.
void add_node_commands(CLI::App& app, Context& context);
void add_dc_commands(CLI::App& app, Context& context);
void add_list_commands(CLI::App& app, Context& context);
void add_migrate_commands(CLI::App& app, Context& context);
void add_stat_command(CLI::App& app, Context& context);
void add_top_command(CLI::App& app, Context& context);
void add_message_commands(CLI::App& app, Context& context);
void add_receive_commands(CLI::App& app, Context& context);
void add_ping_command(CLI::App& app, Context& context);
void add_perf_commands(CLI::App& app, Context& context);
void add_fabric_command(CLI::App& app, Context& context);
void add_completion_command(CLI::App& app, Context& context);

}  // namespace godwit::node::cli
