// The listener of a machine that has the peers: each control connection gets a process of its own,
// so that a test may kill it.
#pragma once

#include <string>

#include "godwit/error.h"

namespace godwit::fabric::testing {

/// Listens on HOST:PORT (port 0: any), prints where, and serves until it is killed.
Result<void> serve(const std::string& where);

/// Starts this program anew as the peer on the other end of `control`, which stays the caller's.
/// Returns the process.
Result<int> start_session(int control);

/// A connection to HOST:PORT.
Result<int> connect_to(const std::string& where);

}  // namespace godwit::fabric::testing
