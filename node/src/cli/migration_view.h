// How a move is shown: to programs as JSON, to people as lines and cells. Pure functions.
#pragma once

#include <string>

#include "cli/output.h"
#include "godwit/endpoints/agent.pb.h"

namespace godwit::node::cli {

/// What was not measured, or has not happened, is null.
Json json_of(const endpoints::proto::MigrationInfo& move);

bool has_ended(const endpoints::proto::MigrationInfo& move);
bool was_committed(const endpoints::proto::MigrationInfo& move);
/// "demo/kv", of several "demo/kv and 2 more"; an id for an anonymous one.
std::string subject_of(const endpoints::proto::MigrationInfo& move);
/// While it is under way: "copying: round 3, 12.0 MiB sent, 1.1 MiB left, 80.0 MiB/s".
std::string progress_of(const endpoints::proto::MigrationInfo& move);
/// Its end on one printable line, and the steps that were measured on a second.
std::string summary_of(const endpoints::proto::MigrationInfo& move);
/// A measured time, "12.3 ms"; "-" if it is not known.
std::string step_time(std::uint64_t us);

}  // namespace godwit::node::cli
