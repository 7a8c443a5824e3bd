#include "nodes.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <sstream>
#include <utility>

namespace audit {

using namespace std::chrono_literals;
using godwit::local_cluster::ChildOptions;
using godwit::local_cluster::ChildProcess;
using godwit::local_cluster::Cluster;
using godwit::local_cluster::ClusterOptions;
using godwit::local_cluster::Place;
using godwit::local_cluster::TemporaryDirectory;

namespace {

constexpr auto kFetchLimit = 60s;

std::vector<std::string> words(const std::string& command) {
  std::istringstream stream(command);
  std::vector<std::string> found;
  for (std::string each; stream >> each;) found.push_back(each);
  return found;
}

}  // namespace

godwit::Result<Nodes> Nodes::start(const Options& options) {
  auto folder = TemporaryDirectory::make("godwit-audit");
  if (!folder) return tl::make_unexpected(folder.error());
  Nodes nodes(std::move(*folder));
  if (!options.nodes.empty()) {
    nodes.names_ = options.nodes;
    nodes.runtime_directory_ = options.runtime_directory;
    // Of this run alone, also where several conductors reach the same machine.
    nodes.there_ = nodes.folder_.path() + "." + std::to_string(::getpid()) + ".";
    return nodes;
  }
  ClusterOptions cluster_options;
  cluster_options.nodes = {"west", "east"};
  cluster_options.dc = kDc;
  cluster_options.host = options.host;
  auto cluster = Cluster::start(std::move(cluster_options));
  if (!cluster) return tl::make_unexpected(cluster.error());
  nodes.cluster_ = std::move(*cluster);
  nodes.names_ = nodes.cluster_->nodes();
  return nodes;
}

Place Nodes::place(const std::string& node) const {
  if (cluster_) return {cluster_->runtime_directory(node), cluster_->child_options(node), {}};
  return {runtime_directory_, {}, words(node)};
}

std::string Nodes::file(const std::string& name) const {
  return cluster_ ? folder_.file(name) : there_ + name;
}

godwit::Result<int> Nodes::run_there(const std::string& node, std::vector<std::string> command,
                                     const std::string& output_file) const {
  std::vector<std::string> whole = {"/usr/bin/env"};
  for (std::string& each : words(node)) whole.push_back(std::move(each));
  whole.insert(whole.end(), command.begin(), command.end());
  ChildOptions options;
  options.output_file = output_file;
  auto process = ChildProcess::start(std::move(whole), std::move(options));
  if (!process) return tl::make_unexpected(process.error());
  process->end_input();
  const auto ended = process->wait(kFetchLimit);
  if (ended && ended->signal == 0) return ended->code;
  return godwit::fail(godwit::Errc::system,
                      "`" + node + " " + command.front() + "` has no end, or was killed");
}

godwit::Result<std::string> Nodes::fetch(const std::string& node, const std::string& name) const {
  std::string here = folder_.file(name);
  if (cluster_) {
    if (::access(here.c_str(), F_OK) == 0) return here;
    return godwit::fail(godwit::Errc::not_found, "no " + here);
  }
  const std::string there = file(name);
  const auto exists = run_there(node, {"test", "-e", there}, {});
  if (!exists) return tl::make_unexpected(exists.error());
  if (*exists == 1) return godwit::fail(godwit::Errc::not_found, node + " has no " + there);
  for (const auto& [command, output] : {std::pair("cat", here), std::pair("rm", std::string())}) {
    const auto status = run_there(node, {command, there}, output);
    if (!status) return tl::make_unexpected(status.error());
    if (*status != 0)
      return godwit::fail(godwit::Errc::system, "`" + node + " " + command + " " + there +
                                                    "` has status " + std::to_string(*status));
  }
  return here;
}

std::string Nodes::log_tail() const {
  return cluster_ ? cluster_->log_tail() : "";
}

void Nodes::keep() {
  folder_.keep();
  std::printf("histories stay in %s", folder_.path().c_str());
  if (cluster_) {
    cluster_->keep_folder();
    std::printf(", logs in %s", cluster_->folder().c_str());
  }
  std::printf("\n");
}

}  // namespace audit
