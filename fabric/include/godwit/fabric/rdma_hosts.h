// Where this machine's RDMA devices are. Any thread.
#pragma once

#include <string>
#include <vector>

namespace godwit::fabric {

/// Numeric addresses of the interfaces that have an RDMA device, as the kernel tells in sysfs; no
/// device is opened. Empty: this machine has none.
std::vector<std::string> rdma_hosts();

/// The device and port ("rxe0:1") behind one of these addresses; empty: no RDMA device has it.
std::string rdma_port_of(const std::string& host);

}  // namespace godwit::fabric
