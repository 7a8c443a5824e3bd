// Where this machine's RDMA devices are. Any thread.
#pragma once

#include <string>
#include <vector>

namespace godwit::fabric {

/// Numeric addresses of the interfaces that have an RDMA device, as the kernel tells in sysfs; no
/// device is opened. Empty: this machine has none.
std::vector<std::string> rdma_hosts();

}  // namespace godwit::fabric
