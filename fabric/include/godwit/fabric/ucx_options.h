// UcxOptions: which of UCX's own transports and devices an engine's `ucx` transport uses.
//
// Plain values, copied by the transport when it is made. What each does is in docs/ucx.md.
#pragma once

#include <cstdint>
#include <string>

namespace godwit::fabric {

struct UcxOptions {
  /// UCX's transports for data, as UCX_TLS lists them: "tcp", "posix,tcp", "rc_verbs,self" ...
  /// Connecting by socket address needs one that has the network device, beside shared memory.
  /// Shared memory is not the default on one node: a process killed while it writes into a
  /// receiver's UCX queue stalls all other senders of that receiver.
  std::string tls = "tcp";

  /// Network devices as UCX_NET_DEVICES lists them; empty: the device that has listen_host.
  std::string net_devices;

  /// How connections are made, as UCX_SOCKADDR_TLS_PRIORITY: "tcp", or "rdmacm" on RDMA devices.
  std::string sockaddr_tls_priority = "tcp";

  /// Payloads from this many bytes on are sent by rendezvous, straight into the receiver's buffer.
  /// At least kSmallPayload + 1.
  std::uint32_t rendezvous_threshold = 64u << 10;
};

}  // namespace godwit::fabric
