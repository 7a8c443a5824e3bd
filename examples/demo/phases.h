// The phases of the demonstration, each in a file of its own. A phase starts workers, watches them,
// and puts what it saw into the report. An error means that the phase could not be carried out; a
// promise that did not hold is no error but a line of the report.
#pragma once

#include <chrono>
#include <string>

#include "live_line.h"
#include "local_cluster/cluster.h"
#include "local_cluster/crew.h"
#include "report.h"

namespace demo {

using godwit::Result;
using godwit::local_cluster::Crew;
using godwit::local_cluster::interrupted;
using godwit::local_cluster::Worker;
using godwit::local_cluster::WorkerLine;

struct Stage {
  godwit::local_cluster::Cluster& cluster;
  LiveLine& live;
  Report& report;
  std::chrono::milliseconds traffic;  // how long all traffic together shall take
  std::uint32_t moves = 10;           // of each of the servers that move
  std::uint32_t large_state = 256;    // MiB of the larger one
  bool ucx = false;                   // found out by the traffic phase
};

/// Calls over each transport alone, then from all nodes at once.
Result<void> show_traffic(Stage& stage);
/// Copies by grants, within a node and between two.
Result<void> show_copies(Stage& stage);
/// kill -9 of a server; its clients; its successor.
Result<void> show_death(Stage& stage);
/// A server moves around the nodes while clients call it: with little state, and with much.
Result<void> show_moves(Stage& stage);
/// Connections cut under load, carried on over other transports.
Result<void> show_cuts(Stage& stage);

}  // namespace demo
