#include "conductor.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

namespace moves {

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::ChildProcess;
using godwit::local_cluster::Network;

constexpr auto kCommandLimit = 60s;
constexpr const char* kComplaints = "godwit.log";

}  // namespace

Result<Cluster> start_cluster(const Options& options) {
  godwit::local_cluster::ClusterOptions cluster_options;
  cluster_options.dc = kDc;
  cluster_options.private_zookeeper = options.private_zookeeper;
  if (options.namespaces) {
    if (auto able = Network::supported(); able) {
      cluster_options.network = Network::namespaces;
    } else {
      std::fprintf(stderr, "godwit_moves: the nodes share one network: %s\n",
                   able.error().message.c_str());
    }
  }
  return Cluster::start(std::move(cluster_options));
}

Conductor::Conductor(const Options& options, Cluster& cluster)
    : options_(options), cluster_(cluster), crew_(cluster) {}

Result<Worker*> Conductor::start_bank(const std::string& node, bool stand_by,
                                      std::vector<std::string> flags, Environment environment) {
  flags.insert(flags.end(), {"--state", std::to_string(options_.state)});
  if (stand_by) flags.push_back("--stand-by");
  return crew_.start_server(node, "bank", std::move(flags), std::move(environment));
}

Result<Worker*> Conductor::start_client(const std::string& node, std::vector<std::string> flags) {
  const std::string& transport = options_.transports[clients_ % options_.transports.size()];
  flags.insert(flags.end(), {"--index", std::to_string(clients_), "--transport", transport});
  ++clients_;
  return crew_.start_server(node, "client", std::move(flags));
}

Result<ChildProcess> Conductor::start_godwit(const std::string& node,
                                             std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), godwit::local_cluster::program_folder() + "/godwit");
  auto options = cluster_.child_options(node);
  options.error_file = cluster_.file(kComplaints);
  return ChildProcess::start(std::move(arguments), std::move(options));
}

Result<std::string> Conductor::godwit(const std::string& node, std::vector<std::string> arguments) {
  const std::string what = "godwit " + arguments.front();
  auto command = start_godwit(node, std::move(arguments));
  if (!command) return tl::make_unexpected(command.error());
  std::string output;
  const auto ended = crew_.run_until(
      [&] {
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
  return godwit::fail(godwit::Errc::agent_unavailable,
                      what + ": " + command->ended()->to_string() + ": " + complaint);
}

Result<void> Conductor::wait_for_standbys(const std::string& at, const std::string& but,
                                          std::chrono::milliseconds limit,
                                          const std::string& program) {
  const auto end = Clock::now() + limit;
  const std::string capability = "program:" + program;
  std::string missing;
  while (Clock::now() < end) {
    auto listed = godwit(at, {"node", "ls", "--json"});
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
  return godwit::fail(godwit::Errc::deadline_exceeded, "no " + program + " stands by at" + missing);
}

}  // namespace moves
