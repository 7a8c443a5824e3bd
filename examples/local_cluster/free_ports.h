// Ports of the loopback device for servers that are started, stopped and started again there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "godwit/error.h"

namespace godwit::local_cluster {

/// TCP ports of 127.0.0.1 that nobody has at the moment, all different. They are below the range
/// from which the kernel chooses ports for outgoing connections: else such a one, even a client's
/// that tries to reach the server while it is down, could take the port away. Errors: system.
Result<std::vector<std::uint16_t>> free_ports(std::size_t count);

}  // namespace godwit::local_cluster
