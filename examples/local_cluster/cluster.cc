#include "cluster.h"

#include <unistd.h>

#include <csignal>
#include <fstream>
#include <utility>

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

  if (auto done = cluster.start_network(); !done) return tl::make_unexpected(done.error());
  if (auto done = cluster.start_directory(); !done) return tl::make_unexpected(done.error());
  if (auto done = cluster.start_agents(); !done) return tl::make_unexpected(done.error());
  return cluster;
}

Result<void> Cluster::start_network() {
  if (options_.network == Network::loopback) return {};
  std::vector<std::string> hosts = options_.nodes;
  if (options_.private_zookeeper) {
    const auto servers = ZooKeeperEnsemble::hosts(options_.zookeeper_servers);
    hosts.insert(hosts.end(), servers.begin(), servers.end());
  } else if (!options_.zookeeper.empty()) {
    return fail(Errc::invalid_argument, "nodes in namespaces do not reach the ZooKeeper at " +
                                            options_.zookeeper +
                                            ": let the cluster start a private one");
  }
  auto network = Network::make(std::move(hosts));
  if (!network) return tl::make_unexpected(network.error());
  network_.emplace(std::move(*network));
  return {};
}

Result<void> Cluster::start_directory() {
  if (options_.private_zookeeper) {
    auto zookeeper = ZooKeeperEnsemble::start(file("zookeeper"), options_.zookeeper_servers,
                                              network_ ? &*network_ : nullptr);
    if (!zookeeper) return tl::make_unexpected(zookeeper.error());
    options_.zookeeper = zookeeper->address();
    zookeeper_.emplace(std::move(*zookeeper));
  }
  if (options_.zookeeper.empty()) {
    directory_ = "local";
    directory_flag_ = "local:" + file("directory");
    return {};
  }
  directory_ = "zookeeper " + options_.zookeeper;
  directory_flag_ = "zookeeper:" + options_.zookeeper;
  // On a server that others use, too, a folder of its own keeps one run apart from another.
  if (!options_.private_zookeeper) {
    directory_flag_ += "/" + folder().substr(folder().rfind('/') + 1);
  }
  return {};
}

Result<void> Cluster::start_agents() {
  // The first makes the DC and its key before another looks for them; the others come up together.
  const auto& nodes = options_.nodes;
  for (std::size_t begin = 0, end = 1; begin < nodes.size(); begin = end, end = nodes.size()) {
    for (std::size_t i = begin; i < end; ++i) {
      if (auto done = start_agent(nodes[i]); !done) return done;
    }
    for (std::size_t i = begin; i < end; ++i) {
      if (auto done = wait_ready(nodes[i]); !done) return done;
    }
  }
  return {};
}

std::string Cluster::runtime_directory(const std::string& node) const {
  return folder_.file(node + ".run");
}

ChildOptions Cluster::child_options(const std::string& node, Environment environment) const {
  environment.emplace_back("GODWIT_RUN", runtime_directory(node));
  ChildOptions options;
  options.environment = std::move(environment);
  if (network_) options.namespaces = network_->namespaces_of(node);
  return options;
}

Result<void> Cluster::start_agent(const std::string& node) {
  const std::string program = options_.programs + "/godwitd";
  if (::access(program.c_str(), X_OK) != 0) {
    return fail(Errc::not_found, "no " + program + ": build it with ./dev build");
  }
  readiness_.erase(node);
  auto readiness = ReadinessSocket::open(folder_.file(node + ".ready"));
  if (!readiness) return tl::make_unexpected(readiness.error());
  std::vector<std::string> command = {program,
                                      "--node",
                                      node,
                                      "--run",
                                      runtime_directory(node),
                                      "--state",
                                      folder_.file(node + ".state"),
                                      "--directory",
                                      directory_flag_,
                                      "--keys",
                                      folder_.file("keys"),
                                      "--listen-host",
                                      network_ ? network_->address(node) : options_.host,
                                      "--log-level",
                                      "info",
                                      "--create-dc",
                                      options_.dc};
  command.insert(command.end(), options_.agent_flags.begin(), options_.agent_flags.end());
  Environment environment;
  if (options_.agent_environment) environment = options_.agent_environment(node);
  environment.emplace_back("NOTIFY_SOCKET", readiness->path());
  ChildOptions child = child_options(node, std::move(environment));
  child.error_file = folder_.file(node + ".log");
  auto agent = ChildProcess::start(std::move(command), std::move(child));
  if (!agent) return tl::make_unexpected(agent.error());
  readiness_.insert_or_assign(node, std::move(*readiness));
  agents_.insert_or_assign(node, std::move(*agent));
  return {};
}

// An agent says so when it is registered and the DC is there.
Result<void> Cluster::wait_ready(const std::string& node) {
  auto ready = readiness_.at(node).wait(agents_.at(node), kStartLimit);
  if (ready) return {};
  Error error = ready.error();
  error.message = "the agent of " + node + " " + error.message + "\n" + log_tail();
  return tl::make_unexpected(std::move(error));
}

Result<void> Cluster::check_node(const std::string& node) const {
  if (agents_.count(node) != 0) return {};
  return fail(Errc::not_found, "the cluster has no node " + node);
}

Result<void> Cluster::kill_agent(const std::string& node) {
  if (auto known = check_node(node); !known) return known;
  ChildProcess& agent = agents_.at(node);
  agent.signal(SIGKILL);
  if (agent.wait(kStopPatience)) return {};
  return fail(Errc::deadline_exceeded, "the agent of " + node + " does not end after SIGKILL");
}

Result<void> Cluster::restart_agent(const std::string& node) {
  if (auto killed = kill_agent(node); !killed) return killed;
  if (auto started = start_agent(node); !started) return started;
  return wait_ready(node);
}

void Cluster::pause_agent(const std::string& node) {
  agents_.at(node).pause();
}

void Cluster::resume_agent(const std::string& node) {
  agents_.at(node).resume();
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
