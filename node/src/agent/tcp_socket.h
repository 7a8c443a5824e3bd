// Non-blocking TCP sockets by numeric address, for what agents say to each other. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "godwit/error.h"
#include "godwit/fabric/address.h"

namespace godwit::node {

/// "HOST:PORT" or "[HOST]:PORT", as agents write their address into their node records.
std::string to_text(const fabric::SocketAddress& address);
Result<fabric::SocketAddress> parse_socket_address(std::string_view text);

/// Starts connecting; errno's value in `progress` (0: connected, EINPROGRESS, ECONNREFUSED, ...).
Result<int> connect_tcp(const fabric::SocketAddress& address, int& progress);
/// Listens; a port 0 is replaced by the one that was given.
Result<int> listen_tcp(fabric::SocketAddress& address);

}  // namespace godwit::node
