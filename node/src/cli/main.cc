// godwit: the command line of a node. See docs/cli.md.
//
// Each family of commands stands in a file of its own and is listed here.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/units.h"

namespace godwit::node::cli {
namespace {

using AddCommands = void (*)(CLI::App&, Context&);
constexpr AddCommands kFamilies[] = {
    add_node_commands, add_dc_commands,   add_list_commands,    add_migrate_commands,
    add_stat_command,  add_top_command,   add_message_commands, add_receive_commands,
    add_ping_command,  add_perf_commands, add_fabric_command,   add_completion_command,
};

constexpr const char* kFooter =
    "A name is DC/NAME, as demo/echo. Sizes: 64, 4k, 1MiB. Times: 200us, 50ms, 2s.\n"
    "'godwit COMMAND --help' has examples.\n\n"
    "Exit codes: 0 done; 1 failed, with 'godwit: CODE: sentence' on standard error; 2 the command\n"
    "line could not be understood and nothing happened.";

int report(const Error& error) {
  const std::string text = describe(error);
  std::fwrite(text.data(), 1, text.size(), stderr);
  return kFailed;
}

int run(int argc, char** argv) {
  Context context;
  CLI::App app("Godwit: endpoints that are found by name and can move.", "godwit");
  app.set_version_flag("--version", std::string(version()));
  app.require_subcommand(1);
  app.footer(kFooter);
  for (const AddCommands add : kFamilies) add(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& wrong) {
    // Where a command must follow, the parser speaks of that and not of the word that is none.
    const std::vector<std::string> left = app.remaining(true);
    const bool unknown = wrong.get_name() == "RequiredError" && !left.empty();
    const std::string sentence =
        unknown ? "there is no command '" + printable(left.front()) + "'" : printable(wrong.what());
    std::fprintf(stderr, "godwit: usage: %s\n", sentence.c_str());
    std::fputs("hint: 'godwit --help', or --help after a command\n", stderr);
    return kUsage;
  }
  const Result<void> result = context.action();
  // What could not be printed was not delivered.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    if (result) return report(fail_errno("cannot write to standard output").value());
  }
  return result ? kOk : report(result.error());
}

}  // namespace
}  // namespace godwit::node::cli

int main(int argc, char** argv) {
  try {
    return godwit::node::cli::run(argc, argv);
  } catch (const std::exception& error) {
    // Memory is all that can run out in ways that are no Result.
    std::fprintf(stderr, "godwit: system: %s\n", error.what());
    return godwit::node::cli::kFailed;
  }
}
