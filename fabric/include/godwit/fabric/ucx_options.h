// UcxOptions: which of UCX's own transports and devices an engine's `ucx` transport uses.
//
// Plain values, copied by the transport when it is made. What is left empty is taken from UCX's own
// variable in the environment if that is set, and else chosen for the host: over RDMA where its
// address is one of an RDMA device, over TCP elsewhere. docs/ucx.md says what each does.
#pragma once

#include <cstdint>
#include <string>

namespace godwit::fabric {

struct UcxOptions {
  /// Numeric address to listen at, which chooses the device; empty: the context's listen_host.
  std::string host;

  /// UCX's transports for data, as UCX_TLS lists them: "rc_verbs,self" for RDMA, "tcp",
  /// "posix,tcp" ... Connecting by socket address needs one that has the network device, beside
  /// shared memory. Shared memory is never chosen by itself: a process killed while it writes into
  /// a receiver's UCX queue stalls all other senders of that receiver.
  std::string tls;

  /// Network devices as UCX_NET_DEVICES lists them ("rxe0:1", "eth0"); chosen: the one that has
  /// the host's address.
  std::string net_devices;

  /// How connections are made, as UCX_SOCKADDR_TLS_PRIORITY; chosen: "rdmacm" where `tls` names an
  /// RDMA transport, else "tcp".
  std::string sockaddr_tls_priority;

  /// Payloads from this many bytes on are sent by rendezvous, straight into the receiver's buffer.
  /// At least kSmallPayload + 1.
  std::uint32_t rendezvous_threshold = 64u << 10;
};

}  // namespace godwit::fabric
