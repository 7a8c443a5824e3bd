// PeerListener: the agent's TCP port, where other agents ask whether this one lives.
//
// Owner: the Agent. Loop's thread. Bytes come from anybody on the network: a connection gets one
// hello's worth of memory and a time limit, and there is a limit on connections.
#pragma once

#include <map>
#include <memory>

#include "agent/event_loop.h"
#include "godwit/fabric/address.h"
#include "godwit/node/peer.pb.h"

namespace godwit::node {

inline constexpr std::uint32_t kPeerVersion = 1;

class PeerListener {
 public:
  /// Listens at `address`; a port 0 becomes the one that was given.
  static Result<std::unique_ptr<PeerListener>> open(EventLoop& loop, fabric::SocketAddress address,
                                                    proto::AgentHello self);
  ~PeerListener();

  const fabric::SocketAddress& address() const noexcept { return address_; }

 private:
  class Peer;

  PeerListener(EventLoop& loop, int fd, fabric::SocketAddress address, proto::AgentHello self);
  void accept();

  EventLoop& loop_;
  const int fd_;
  const fabric::SocketAddress address_;
  const proto::AgentHello self_;
  EventLoop::TimerId resume_ = 0;
  std::map<int, std::unique_ptr<Peer>> peers_;
};

}  // namespace godwit::node
