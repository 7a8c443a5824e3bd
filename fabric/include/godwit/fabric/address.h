// EngineAddress: everything a peer needs to reach an engine, as one opaque blob in the directory.
//
// The blob comes from outside: parse() accepts any bytes and answers an address or an error. Its
// layout is in docs/wire-format.md. A value type; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/error.h"
#include "godwit/fabric/identity.h"

namespace godwit::fabric {

struct SocketAddress {
  std::string host;  // numeric IPv4 or IPv6
  std::uint16_t port = 0;
  bool operator==(const SocketAddress&) const = default;
};

class EngineAddress {
 public:
  EngineId engine;
  std::string node;        // node name; equal names may share memory ...
  std::string host;        // ... if they also run under the same kernel (this_host())
  std::string shm_socket;  // path of the Unix socket; empty: no shm
  std::vector<SocketAddress> tcp;
  std::vector<SocketAddress> ucx;
  std::vector<SocketAddress> verbs;

  static constexpr std::size_t kMaxBlob = 4096;
  static constexpr std::size_t kMaxSockets = 16;      // of each kind
  static constexpr std::size_t kMaxSocketPath = 107;  // sun_path less its end

  /// An address that breaks a limit makes a blob that parse() refuses.
  std::string serialize() const;

  /// protocol_error unless all of it keeps the limits: an engine id that is not zero, names without
  /// control characters, an absolute or no socket path, numeric hosts, ports above 0.
  static Result<EngineAddress> parse(std::string_view blob);

  bool operator==(const EngineAddress&) const = default;
};

/// Identifies the running kernel and the user: engines with different values cannot share memory.
const std::string& this_host();

}  // namespace godwit::fabric
