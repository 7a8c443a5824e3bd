#include "network.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string_view>
#include <utility>

#include "child_process.h"

namespace godwit::local_cluster {

namespace {

constexpr std::size_t kMaxHosts = 64;
constexpr auto kIpLimit = std::chrono::seconds(20);
// Of RFC 2544: for tests of networks.
constexpr std::string_view kPrefix = "198.18.0.";
constexpr std::string_view kRouter = "198.18.0.1";
// Of the routing rules that drop; any below that of the main table.
constexpr std::size_t kFirstPriority = 1000;

std::string address_of(std::size_t index) {
  return std::string(kPrefix) + std::to_string(2 + index);
}

// The router's end of a host's link.
std::string interface_of(std::size_t index) {
  return "host" + std::to_string(index);
}

std::string find_ip() {
  for (const char* path : {"/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"}) {
    if (::access(path, X_OK) == 0) return path;
  }
  return {};
}

// `kept` are descriptors that the script names as /proc/self/fd/N.
Result<void> run_ip(NamespaceList namespaces, std::string_view script, std::vector<int> kept = {}) {
  const std::string program = find_ip();
  if (program.empty()) return fail(Errc::not_supported, "no `ip`: install the package iproute2");
  ChildOptions options;
  options.errors_to_output = true;
  options.namespaces = std::move(namespaces);
  options.kept_descriptors = std::move(kept);
  auto ip = ChildProcess::start({program, "-batch", "-"}, std::move(options));
  if (!ip) return tl::make_unexpected(ip.error());
  ip->write_line(script);  // one that has died already says why
  ip->end_input();
  std::string said;
  const auto until = std::chrono::steady_clock::now() + kIpLimit;
  while (ip->output() >= 0 && std::chrono::steady_clock::now() < until) {
    if (auto line = ip->wait_line(std::chrono::seconds(1))) said += *line + "; ";
  }
  const auto status = ip->wait(std::chrono::seconds(1));
  if (status && status->ok()) return {};
  return fail(Errc::system, "ip: " + said + (status ? status->to_string() : "it does not end"));
}

}  // namespace

Result<void> Network::supported() {
  auto network = make({"a", "b"});
  Result<void> done;
  if (network) {
    done = network->cut("a", "b");
  } else {
    done = tl::make_unexpected(network.error());
  }
  if (!done && done.error().code != Errc::not_supported) {
    return fail(Errc::not_supported,
                "the kernel lacks veth or policy routing: " + done.error().message);
  }
  return done;
}

Result<Network> Network::make(std::vector<std::string> hosts) {
  if (hosts.size() > kMaxHosts) {
    return fail(Errc::invalid_argument,
                "a network has at most " + std::to_string(kMaxHosts) + " hosts");
  }
  if (std::set<std::string>(hosts.begin(), hosts.end()).size() != hosts.size()) {
    return fail(Errc::invalid_argument, "two hosts of a network have the same name");
  }
  Network network;
  network.hosts_ = std::move(hosts);
  if (::geteuid() != 0) {
    auto user = make_user_namespace();
    if (!user) return tl::make_unexpected(user.error());
    network.user_ = std::move(*user);
  }
  auto router = make_network_namespace(network.user_.get(), true);
  if (!router) return tl::make_unexpected(router.error());
  network.router_ = std::move(*router);
  for (std::size_t i = 0; i < network.hosts_.size(); ++i) {
    auto made = make_network_namespace(network.user_.get(), false);
    if (!made) return tl::make_unexpected(made.error());
    network.networks_.push_back(std::move(*made));
  }
  if (auto connected = network.connect(); !connected) {
    return tl::make_unexpected(connected.error());
  }
  return network;
}

Result<void> Network::connect() {
  std::string script = "link set lo up\n";
  std::vector<int> kept;
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    const std::string name = interface_of(i);
    const int fd = networks_[i].get();
    kept.push_back(fd);
    script += "link add " + name + " type veth peer name link0 netns /proc/self/fd/" +
              std::to_string(fd) + "\n";
    script += "addr add " + std::string(kRouter) + " peer " + address_of(i) + " dev " + name + "\n";
    script += "link set " + name + " up\n";
  }
  if (auto done = run_ip(enter(router_), script, kept); !done) return done;
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    std::string own = "link set lo up\n";
    own += "addr add " + address_of(i) + " peer " + std::string(kRouter) + " dev link0\n";
    own += "link set link0 up\n";
    own += "route add " + std::string(kPrefix) + "0/24 via " + std::string(kRouter) + "\n";
    if (auto done = run_ip(enter(networks_[i]), own); !done) return done;
  }
  return {};
}

NamespaceList Network::enter(const Descriptor& network) const {
  if (user_) return {user_.get(), network.get()};
  return {network.get()};
}

Result<std::size_t> Network::index(const std::string& host) const {
  const auto found = std::find(hosts_.begin(), hosts_.end(), host);
  if (found != hosts_.end()) return static_cast<std::size_t>(found - hosts_.begin());
  return fail(Errc::invalid_argument, "the network has no host " + host);
}

std::string Network::address(const std::string& host) const {
  return address_of(index(host).value());
}

NamespaceList Network::namespaces_of(const std::string& host) const {
  return enter(networks_[index(host).value()]);
}

Result<Descriptor> Network::open_socket(const std::string& host, int type) const {
  return open_socket_in(namespaces_of(host), type);
}

Result<std::set<Network::Link>> Network::links_between(const std::string& a,
                                                       const std::string& b) const {
  const auto from = index(a);
  if (!from) return tl::make_unexpected(from.error());
  const auto to = index(b);
  if (!to) return tl::make_unexpected(to.error());
  if (*from == *to) return fail(Errc::invalid_argument, "no link joins " + a + " to itself");
  return std::set<Link>{{*from, *to}, {*to, *from}};
}

Result<std::set<Network::Link>> Network::links_of(const std::string& host) const {
  const auto self = index(host);
  if (!self) return tl::make_unexpected(self.error());
  std::set<Link> links;
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    if (i != *self) links.insert({{*self, i}, {i, *self}});
  }
  return links;
}

Result<void> Network::cut(const std::string& from, const std::string& to) {
  const auto links = links_between(from, to);
  if (!links) return tl::make_unexpected(links.error());
  std::set<Link> wanted = cut_;
  wanted.insert({*index(from), *index(to)});
  return become(std::move(wanted));
}

Result<void> Network::cut_both(const std::string& a, const std::string& b) {
  const auto links = links_between(a, b);
  if (!links) return tl::make_unexpected(links.error());
  std::set<Link> wanted = cut_;
  wanted.insert(links->begin(), links->end());
  return become(std::move(wanted));
}

Result<void> Network::heal(const std::string& a, const std::string& b) {
  const auto links = links_between(a, b);
  if (!links) return tl::make_unexpected(links.error());
  std::set<Link> wanted = cut_;
  for (const Link& each : *links) wanted.erase(each);
  return become(std::move(wanted));
}

Result<void> Network::isolate(const std::string& host) {
  const auto links = links_of(host);
  if (!links) return tl::make_unexpected(links.error());
  std::set<Link> wanted = cut_;
  wanted.insert(links->begin(), links->end());
  return become(std::move(wanted));
}

Result<void> Network::rejoin(const std::string& host) {
  const auto links = links_of(host);
  if (!links) return tl::make_unexpected(links.error());
  std::set<Link> wanted = cut_;
  for (const Link& each : *links) wanted.erase(each);
  return become(std::move(wanted));
}

Result<void> Network::heal_all() {
  return become({});
}

// A link is cut by a routing rule of the router. A packet that is forwarded meets the rules each
// time, and one that a `blackhole` rule takes is dropped without an answer. The rule names the
// interface that the packet comes from, so that the check of a packet's source (rp_filter), which
// looks up the way back, does not drop what flows in the other direction.
Result<void> Network::become(std::set<Link> cut) {
  std::string script;
  const auto priority = [](const Link& link) {
    return std::to_string(kFirstPriority + link.first * kMaxHosts + link.second);
  };
  for (const Link& link : cut_) {
    if (cut.count(link) == 0) script += "rule del priority " + priority(link) + "\n";
  }
  for (const Link& link : cut) {
    if (cut_.count(link) != 0) continue;
    script += "rule add priority " + priority(link) + " iif " + interface_of(link.first) + " to " +
              address_of(link.second) + " blackhole\n";
  }
  if (script.empty()) return {};
  if (auto done = run_ip(enter(router_), script); !done) return done;
  cut_ = std::move(cut);
  return {};
}

}  // namespace godwit::local_cluster
