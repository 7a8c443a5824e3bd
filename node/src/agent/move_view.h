// What the directory's records of a move mean to its state machines, and to people. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "godwit/coord/moves.h"
#include "godwit/endpoints/agent.pb.h"
#include "godwit/migrate/move.h"

namespace godwit::node {

/// A move as it was read: its record, and the endpoints that are still what the plan took.
struct MoveReading {
  coord::MoveEntry entry;  // as it is, or was last
  bool ended = false;      // there is no active record
  /// Those that live, in the order of the record; of a move under way those that are still in it.
  std::vector<coord::EndpointEntry> members;

  migrate::Record view() const;
  /// For the next step.
  coord::Move move() const { return {entry, members}; }
  const coord::proto::MigrationRecord& record() const { return entry.record; }
};

/// A move as its source's agent has just written it, for its target's, which need not wait for the
/// directory to tell it; and read from that again. Nothing if it is not the move that `known` is,
/// or does not fit it: then the directory is asked.
std::string packed_intent(const MoveReading& written);
std::optional<MoveReading> parsed_intent(const std::string& intent, const MoveReading& known);

bool has_ended(const coord::proto::MigrationRecord& record);

/// Whether an endpoint is bound as it was at the plan, wherever it is served.
bool is_same_binding(const coord::proto::MigrationMember& member,
                     const coord::proto::EndpointRecord& endpoint);

/// `dc`: the number of the record's DC, 0 if it is not known.
endpoints::proto::MigrationInfo info_of(const coord::proto::MigrationRecord& record,
                                        std::uint32_t dc);

coord::proto::MigrationTimes times_of(const endpoints::proto::MoveTimes& times);
coord::proto::MigrationProgress progress_of(const endpoints::proto::MoveProgress& progress);

/// "endpoint 'kv' and 2 more of DC 'demo'", for the log.
std::string label_of(const coord::proto::MigrationRecord& record);

}  // namespace godwit::node
