// What a service manager is told, by systemd's protocol: a datagram to $NOTIFY_SOCKET. Without one
// nothing happens. Any thread.
#pragma once

#include <string_view>

namespace godwit::node {

/// "READY=1", "STOPPING=1", "STATUS=...".
void tell_service_manager(std::string_view message);

}  // namespace godwit::node
