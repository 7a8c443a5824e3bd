#include "cluster.h"

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <utility>

#include "godwit/process.h"

namespace godwit::local_cluster {

namespace {

using namespace std::chrono_literals;

constexpr auto kStartLimit = 20s;
constexpr auto kStopPatience = 5s;
constexpr std::size_t kTailLines = 12;

}  // namespace

std::string this_program() {
  std::string path(4096, '\0');
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  path.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return path;
}

std::string program_folder() {
  const std::string path = this_program();
  return path.substr(0, path.rfind('/'));
}

Result<Cluster> Cluster::start(ClusterOptions options) {
  if (options.programs.empty()) options.programs = program_folder();
  auto folder = TemporaryDirectory::make("godwit");
  if (!folder) return tl::make_unexpected(folder.error());
  Cluster cluster(std::move(options), std::move(*folder));

  if (cluster.options_.private_zookeeper) {
    auto zookeeper = PrivateZooKeeper::start(cluster.file("zookeeper"));
    if (!zookeeper) return tl::make_unexpected(zookeeper.error());
    cluster.options_.zookeeper = zookeeper->address();
    cluster.zookeeper_.emplace(std::move(*zookeeper));
  }
  if (cluster.options_.zookeeper.empty()) {
    cluster.directory_ = "local";
    cluster.directory_flag_ = "local:" + cluster.file("directory");
  } else {
    cluster.directory_ = "zookeeper " + cluster.options_.zookeeper;
    cluster.directory_flag_ = "zookeeper:" + cluster.options_.zookeeper;
    // On a server that others use, too, a folder of its own keeps one run apart from another.
    if (!cluster.options_.private_zookeeper) {
      cluster.directory_flag_ += "/" + cluster.folder().substr(cluster.folder().rfind('/') + 1);
    }
  }
  // The first makes the DC and its key before another looks for them; the others come up together.
  const auto& nodes = cluster.options_.nodes;
  for (std::size_t begin = 0, end = 1; begin < nodes.size(); begin = end, end = nodes.size()) {
    for (std::size_t i = begin; i < end; ++i) {
      if (auto done = cluster.start_agent(nodes[i]); !done)
        return tl::make_unexpected(done.error());
    }
    for (std::size_t i = begin; i < end; ++i) {
      if (auto done = cluster.wait_ready(nodes[i]); !done) return tl::make_unexpected(done.error());
    }
  }
  return cluster;
}

std::string Cluster::runtime_directory(const std::string& node) const {
  return folder_.file(node + ".run");
}

Result<void> Cluster::start_agent(const std::string& node) {
  const std::string program = options_.programs + "/godwitd";
  if (::access(program.c_str(), X_OK) != 0) {
    return fail(Errc::not_found, "no " + program + ": build it with ./dev build");
  }
  auto agent =
      ChildProcess::start({program, "--node", node, "--run", runtime_directory(node), "--state",
                           folder_.file(node + ".state"), "--directory", directory_flag_, "--keys",
                           folder_.file("keys"), "--listen-host", "127.0.0.1", "--log-level",
                           "info", "--create-dc", options_.dc},
                          {.environment = {}, .error_file = folder_.file(node + ".log")});
  if (!agent) return tl::make_unexpected(agent.error());
  agents_.emplace(node, std::move(*agent));
  return {};
}

Result<void> Cluster::wait_ready(const std::string& node) {
  const auto until = std::chrono::steady_clock::now() + kStartLimit;
  ChildProcess& agent = agents_.at(node);
  while (true) {
    ProcessOptions options;
    options.runtime_directory = runtime_directory(node);
    // Binding in the DC proves more than the socket's presence: directory, DC and key are there.
    auto process = Process::attach(options);
    Error error;
    if (process) {
      auto endpoint = (*process)->bind_anonymous(options_.dc, 1s);
      if (endpoint) return {};
      error = endpoint.error();
    } else {
      error = process.error();
    }
    if (const auto status = agent.ended()) {
      return fail(Errc::system, "the agent of " + node + " ended with " + status->to_string() +
                                    "\n" + log_tail());
    }
    if (std::chrono::steady_clock::now() > until) {
      return fail(Errc::deadline_exceeded, "the agent of " + node + " is not ready: " +
                                               error.to_string() + "\n" + log_tail());
    }
    agent.wait_line(20ms);
  }
}

std::string Cluster::log_tail() const {
  std::string tail;
  for (const std::string& node : options_.nodes) {
    std::ifstream log(folder_.file(node + ".log"));
    std::vector<std::string> lines;
    for (std::string line; std::getline(log, line);) lines.push_back(line);
    const std::size_t first = lines.size() > kTailLines ? lines.size() - kTailLines : 0;
    for (std::size_t i = first; i < lines.size(); ++i) tail += node + ": " + lines[i] + "\n";
  }
  return tail;
}

std::vector<std::string> Cluster::stop() {
  std::vector<std::string> unclean;
  for (auto& [node, agent] : agents_) agent.signal(SIGTERM);
  for (auto& [node, agent] : agents_) {
    const ExitStatus status = agent.stop(kStopPatience);
    if (!status.ok()) unclean.push_back(node + ": " + status.to_string());
  }
  agents_.clear();
  return unclean;
}

}  // namespace godwit::local_cluster
