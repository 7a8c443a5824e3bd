#include "command_line.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

namespace godwit::local_cluster {

using namespace std::chrono_literals;

namespace {

constexpr auto kCommandLimit = 90s;
constexpr const char* kComplaints = "godwit.log";

}  // namespace

Result<ChildProcess> CommandLine::start(const std::string& node,
                                        std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program_folder() + "/godwit");
  auto options = cluster_.child_options(node);
  options.error_file = cluster_.file(kComplaints);
  return ChildProcess::start(std::move(arguments), std::move(options));
}

Result<std::string> CommandLine::run(const std::string& node, std::vector<std::string> arguments) {
  const std::string what = "godwit " + arguments.front();
  auto command = start(node, std::move(arguments));
  if (!command) return tl::make_unexpected(command.error());
  std::string output;
  const auto ended = crew_.run_until(
      [&] {
        // Asked first: what it has printed before its end is read after that.
        const bool over = command->ended().has_value();
        while (auto line = command->next_line()) output += *line + "\n";
        return over;
      },
      kCommandLimit);
  if (!ended) return tl::make_unexpected(ended.error());
  if (command->ended()->ok()) return output;
  std::string complaint;
  std::ifstream complaints(cluster_.file(kComplaints));
  for (std::string line; std::getline(complaints, line);) complaint = line;
  return fail(Errc::agent_unavailable,
              what + ": " + command->ended()->to_string() + ": " + complaint);
}

Result<void> CommandLine::wait_for_standbys(const std::string& at, const std::string& but,
                                            const std::string& program,
                                            std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  const std::string capability = "program:" + program;
  std::string missing;
  while (std::chrono::steady_clock::now() < end) {
    auto listed = run(at, {"node", "ls", "--json"});
    if (!listed) return tl::make_unexpected(listed.error());
    const auto document = nlohmann::json::parse(*listed, nullptr, false);
    missing.clear();
    for (const std::string& name : cluster_.nodes()) {
      if (name == but) continue;
      const bool has = std::any_of(
          document["nodes"].begin(), document["nodes"].end(), [&](const nlohmann::json& node) {
            const auto& all = node["capabilities"];
            return node["name"] == name &&
                   std::find(all.begin(), all.end(), capability) != all.end();
          });
      if (!has) missing += " " + name;
    }
    if (missing.empty()) return {};
  }
  return fail(Errc::deadline_exceeded, "no " + program + " stands by at" + missing);
}

}  // namespace godwit::local_cluster
