// A tour: the bank moves about between three nodes while clients call it and send to it; what they
// measured, and whether every promise held.
#pragma once

#include "conductor.h"
#include "options.h"

namespace moves {

/// 0, kExitBroken or kExitFailed.
int run_tour(const Options& options);

}  // namespace moves
