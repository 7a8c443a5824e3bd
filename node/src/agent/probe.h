// Prober: whether somebody answers at a TCP address, and whether it is a certain agent.
//
// Owner: the Agent. Loop's thread. Questions about one address that overlap share one connection.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/on_loop.h"
#include "godwit/fabric/address.h"
#include "godwit/node/peer.pb.h"

namespace godwit::node {

enum class ProbeResult : std::uint8_t {
  answered,  // it lives
  refused,   // its host answers, and nobody (or somebody else) is there
  silent,    // nothing within the time limit
};

class Prober {
 public:
  using Done = std::function<void(ProbeResult)>;

  /// `self` is what this agent calls itself to others.
  Prober(EventLoop& loop, proto::AgentHello self);
  ~Prober();

  /// Whether that incarnation of the node's agent answers a hello.
  void agent(const fabric::SocketAddress& address, const std::string& node,
             std::uint64_t incarnation, Done done);
  /// Whether anything accepts connections there.
  void listener(const fabric::SocketAddress& address, Done done);

 private:
  class Attempt;

  void start(const std::string& key, const fabric::SocketAddress& address,
             std::unique_ptr<proto::AgentHello> expected, Done done);
  void finish(const std::string& key, ProbeResult result);

  EventLoop& loop_;
  const proto::AgentHello self_;
  std::map<std::string, std::unique_ptr<Attempt>> attempts_;
};

}  // namespace godwit::node
