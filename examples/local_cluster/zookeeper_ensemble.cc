#include "zookeeper_ensemble.h"

#include <sys/stat.h>

#include <utility>

#include "free_ports.h"

namespace godwit::local_cluster {

namespace {

using Clock = std::chrono::steady_clock;

// On hosts of their own all servers have the same.
constexpr std::uint16_t kClientPort = 2181;
constexpr std::uint16_t kPeerPort = 2888;
constexpr std::uint16_t kElectionPort = 3888;

struct Member {
  std::string host;
  std::uint16_t client = kClientPort;
  std::uint16_t peer = kPeerPort;
  std::uint16_t election = kElectionPort;
  NamespaceList namespaces;
};

Result<std::vector<Member>> members_on_loopback(std::size_t count) {
  auto ports = free_ports(3 * count);
  if (!ports) return tl::make_unexpected(ports.error());
  std::vector<Member> members;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint16_t* own = ports->data() + 3 * i;
    members.push_back({"127.0.0.1", own[0], own[1], own[2], {}});
  }
  return members;
}

std::vector<Member> members_on(const Network& network, std::size_t count) {
  std::vector<Member> members;
  for (const std::string& host : ZooKeeperEnsemble::hosts(count)) {
    Member member;
    member.host = network.address(host);
    member.namespaces = network.namespaces_of(host);
    members.push_back(std::move(member));
  }
  return members;
}

// The lines of the configuration that all have in common; none for a server that is alone.
std::string member_lines(const std::vector<Member>& members) {
  std::string lines;
  if (members.size() == 1) return lines;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Member& member = members[i];
    lines += "server." + std::to_string(i + 1) + "=" + member.host + ":" +
             std::to_string(member.peer) + ":" + std::to_string(member.election) + "\n";
  }
  return lines;
}

}  // namespace

std::vector<std::string> ZooKeeperEnsemble::hosts(std::size_t servers) {
  std::vector<std::string> names;
  for (std::size_t i = 1; i <= servers; ++i) names.push_back("zookeeper" + std::to_string(i));
  return names;
}

Result<ZooKeeperEnsemble> ZooKeeperEnsemble::start(const std::string& folder, std::size_t servers,
                                                   const Network* network) {
  if (servers != 1 && servers != 3) {
    return fail(Errc::invalid_argument, "an ensemble has one or three servers");
  }
  auto members = network == nullptr ? members_on_loopback(servers)
                                    : Result<std::vector<Member>>(members_on(*network, servers));
  if (!members) return tl::make_unexpected(members.error());
  if (::mkdir(folder.c_str(), 0700) != 0) return fail_errno("cannot make the folder " + folder);
  ZooKeeperEnsemble ensemble;
  for (std::size_t i = 0; i < servers; ++i) {
    const Member& member = (*members)[i];
    PrivateZooKeeperOptions options;
    options.folder = folder + "/" + std::to_string(i + 1);
    options.host = member.host;
    options.port = member.client;
    options.namespaces = member.namespaces;
    options.id = static_cast<unsigned>(i + 1);
    options.members = member_lines(*members);
    auto server = PrivateZooKeeper::make(std::move(options));
    if (!server) return tl::make_unexpected(server.error());
    if (auto started = server->start(); !started) return tl::make_unexpected(started.error());
    ensemble.servers_.push_back(std::move(*server));
  }
  if (auto serving = ensemble.wait_serving(); !serving) {
    return tl::make_unexpected(serving.error());
  }
  return ensemble;
}

std::string ZooKeeperEnsemble::address() const {
  std::string all;
  for (const PrivateZooKeeper& server : servers_) {
    all += (all.empty() ? "" : ",") + server.address();
  }
  return all;
}

std::optional<std::size_t> ZooKeeperEnsemble::leader() const {
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    const auto mode = servers_[i].mode();
    if (mode == "leader" || mode == "standalone") return i;
  }
  return std::nullopt;
}

Result<void> ZooKeeperEnsemble::restart(std::size_t index) {
  servers_.at(index).kill();
  return servers_.at(index).start();
}

Result<void> ZooKeeperEnsemble::wait_serving(std::chrono::milliseconds limit) {
  const auto until = Clock::now() + limit;
  // A follower may serve a moment longer than its leader lives, so all are looked at until one
  // leads.
  do {
    for (PrivateZooKeeper& server : servers_) {
      if (!server.running()) continue;
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
      if (auto serving = server.wait_serving(left); !serving) return serving;
    }
    if (leader()) return {};
  } while (Clock::now() < until);
  return fail(Errc::deadline_exceeded, "no ZooKeeper server leads");
}

}  // namespace godwit::local_cluster
