// The campaign: fault cases one after another, each judged, each repeated by its name; and planted
// faults, which must be found.
#pragma once

#include "options.h"

namespace moves {

/// Options::faults or fault_cases. 0; kExitBroken: a case failed; kExitFailed: it could not run, or
/// a point was never reached.
int run_faults(const Options& options);

/// Options::planted: plays what exposes the broken rule. kExitBroken: it was found, by evidence and
/// not by a limit alone.
int run_planted(const Options& options);

void list_faults();

}  // namespace moves
