// What `godwit fabric` finds out: which transports an engine here would offer, and which one would
// be chosen towards another engine. Opens transports for a moment; connects to nobody.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/error.h"
#include "godwit/fabric/address.h"
#include "godwit/fabric/transport.h"

namespace godwit::node::cli {

/// A transport as an engine of this machine would open it.
struct Offer {
  fabric::TransportKind kind;
  std::optional<Error> problem;    // why it is not offered
  std::vector<std::string> hosts;  // numeric, where other nodes reach it; empty for shm
  bool by_default;                 // a program offers it without asking for it
  std::string note;                // why it stands where it stands in the order
};

/// In the order of preference. `listen_host` is where the node's engines listen; empty: unknown,
/// then loopback, and for verbs the address of the first RDMA device.
Result<std::vector<Offer>> probe_transports(const std::string& listen_host);

/// Where a transport stands between an engine of this node and that one.
struct Way {
  fabric::TransportKind kind;
  std::string why_not;  // empty: it would work, as far as can be told without connecting
  bool by_default;
};

/// In the order of preference; the first without why_not that is by_default is what is dialled
/// first. `here` is this node's name.
std::vector<Way> ways_to(const fabric::EngineAddress& peer, std::string_view here,
                         const std::vector<Offer>& offers);
std::optional<fabric::TransportKind> chosen(const std::vector<Way>& ways);

}  // namespace godwit::node::cli
