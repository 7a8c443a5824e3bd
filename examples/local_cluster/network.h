// Network: hosts that are joined by links which can be cut one by one and in one direction. Each
// host is a network namespace with one interface; all hang on a router, a namespace, too, that
// forwards packets between them and drops those of a link that is cut, without a word to the
// sender. Established connections suffer that as new ones do.
//
//   host 198.18.0.2 --- veth ---+
//   host 198.18.0.3 --- veth ---+--- router 198.18.0.1
//
// Nothing of it can be seen from outside: addresses and interfaces need not be unique on the
// machine, and the kernel takes everything away when the owner ends, however that happens
// (network_namespace.h). No host reaches anything but the others, and none is reached from outside
// but by the sockets of open_socket(). Unix sockets and files are not affected by any of this, and
// /sys shows the machine's interfaces: programs that look for theirs there, as UCX does, find none.
//
// Owner: whoever makes it; programs in it should end first, else they keep their namespace (without
// the router). One thread at a time.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "descriptor.h"
#include "godwit/error.h"
#include "network_namespace.h"

namespace godwit::local_cluster {

class Network {
 public:
  /// What joins the nodes of a cluster.
  enum Kind {
    loopback,    // the machine's loopback device: nothing can be cut
    namespaces,  // a Network: needs iproute2, and root or unprivileged user namespaces
  };

  /// Whether this machine can do it, proved by doing it. Errors: not_supported, with what is
  /// missing.
  static Result<void> supported();

  /// At most 64 hosts. Errors: invalid_argument (too many, one twice), not_supported.
  static Result<Network> make(std::vector<std::string> hosts);

  const std::vector<std::string>& hosts() const noexcept { return hosts_; }
  /// "198.18.0.2". The host must exist, here and below where no error is promised.
  std::string address(const std::string& host) const;
  /// For ChildOptions::namespaces: what makes a program one of this host.
  NamespaceList namespaces_of(const std::string& host) const;
  /// A non-blocking socket of this host in the hands of the caller (SOCK_STREAM or SOCK_DGRAM).
  /// Errors: system.
  Result<Descriptor> open_socket(const std::string& host, int type) const;

  /// From now on packets from one to the other are dropped; the other way they still flow. Errors
  /// of these: invalid_argument (no such host), system.
  Result<void> cut(const std::string& from, const std::string& to);
  Result<void> cut_both(const std::string& a, const std::string& b);
  /// Takes back the cuts between these two, in both directions.
  Result<void> heal(const std::string& a, const std::string& b);
  /// cut_both with every other host.
  Result<void> isolate(const std::string& host);
  /// heal with every other host.
  Result<void> rejoin(const std::string& host);
  Result<void> heal_all();

 private:
  using Link = std::pair<std::size_t, std::size_t>;  // indices of from, to

  Network() = default;
  Result<void> connect();
  NamespaceList enter(const Descriptor& network) const;
  Result<std::size_t> index(const std::string& host) const;
  Result<std::set<Link>> links_between(const std::string& a, const std::string& b) const;
  Result<std::set<Link>> links_of(const std::string& host) const;
  Result<void> become(std::set<Link> cut);

  std::vector<std::string> hosts_;
  Descriptor user_;  // none for root
  Descriptor router_;
  std::vector<Descriptor> networks_;  // of the hosts
  std::set<Link> cut_;
};

}  // namespace godwit::local_cluster
