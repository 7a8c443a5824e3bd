// What only rdma-core can tell of the devices that the kernel shows.
#pragma once

#include <vector>

#include "godwit/fabric/inventory.h"

namespace godwit::fabric {

/// Opens each device for a moment: fills in `mtu` of the ports, or `problem`.
void complete_with_verbs(std::vector<RdmaDevice>& devices);

}  // namespace godwit::fabric
