// VerbsOptions: what an engine's `verbs` transport takes of the device and of locked memory.
//
// Plain values, copied by the transport when it is made. The memory formula is in docs/verbs.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace godwit::fabric {

struct VerbsOptions {
  /// Numeric address of the RDMA device's interface; empty: the context's listen_host.
  std::string host;

  /// Most receive buffers (of about 2 KiB) that all peers together may fill; taken as peers come.
  std::uint32_t receive_buffers = 8192;
  /// Most of them for one peer: frames that may be on their way to this engine. At least 4.
  std::uint32_t window = 64;
  /// Buffers (of about 2 KiB) from which frames too long to be sent inline leave.
  std::uint32_t send_slots = 512;
  /// Work requests that one connection may have unfinished. At least 32.
  std::uint32_t send_depth = 128;
  /// Frames up to this many bytes, header included, are handed to the device inline. A device that
  /// cannot take as many is asked for less.
  std::uint32_t inline_bytes = 256;

  /// Payloads from this many bytes on are fetched by the receiver with RDMA READ; smaller ones are
  /// sent in pieces of kSmallPayload. Above kSmallPayload.
  std::uint32_t rendezvous_threshold = 8u << 10;

  /// Copies against a grant of this many bytes or more are one-sided (RDMA READ and WRITE); smaller
  /// ones go as frames, which need no memory registered on either side.
  std::uint32_t one_sided_threshold = 16u << 10;

  /// Locked memory that the transport may use, all in all. 0: three quarters of RLIMIT_MEMLOCK, or
  /// 256 MiB where that does not bind.
  std::uint64_t locked_bytes = 0;

  /// How long the device waits for an acknowledgement before it repeats: 4.096 us * 2^ack_timeout,
  /// 1 to 31. With retries that is how long a vanished peer stays unnoticed while data is on its
  /// way: 15 and 6 make about a second.
  std::uint8_t ack_timeout = 15;
  std::uint8_t retries = 6;  // 0 to 7

  /// How often a transport whose device was lost looks whether it is back.
  std::chrono::milliseconds revive_interval{500};
};

}  // namespace godwit::fabric
