#include "agent/move_view.h"

#include <algorithm>

#include "godwit/node/intent.pb.h"

namespace godwit::node {

namespace {

namespace stored = coord::proto;
using Stored = stored::MigrationRecord;

migrate::Phase phase_of(const Stored& record) {
  switch (record.state()) {
    case Stored::PREPARED:
      return migrate::Phase::prepared;
    case Stored::MOVING:
      return migrate::Phase::moving;
    case Stored::COMMITTED:
    case Stored::ABORTED:
      return migrate::Phase::ended;
    default:
      return migrate::Phase::planned;
  }
}

const char* name_of(Stored::State state) {
  switch (state) {
    case Stored::PLANNED:
      return "planned";
    case Stored::PREPARED:
      return "prepared";
    case Stored::MOVING:
      return "moving";
    case Stored::COMMITTED:
      return "committed";
    case Stored::ABORTED:
      return "aborted";
    default:
      return "unknown";
  }
}

}  // namespace

bool has_ended(const Stored& record) {
  return phase_of(record) == migrate::Phase::ended;
}

bool is_same_binding(const stored::MigrationMember& member,
                     const stored::EndpointRecord& endpoint) {
  const bool bound = endpoint.state() == stored::SERVING || endpoint.state() == stored::MOVING;
  return bound && endpoint.slot() == member.slot() &&
         endpoint.generation() == member.generation() && endpoint.lineage() == member.lineage();
}

namespace {

void pack(const std::string& record, const coord::Stat& stat, proto::Intent::Record& to) {
  to.set_record(record);
  to.set_version(stat.version);
  for (std::size_t i = 0; i < stat.trail.count; ++i) to.add_trail(stat.trail.nonces[i]);
}

template <typename T>
bool parse(const proto::Intent::Record& from, coord::Entry<T>& to) {
  auto& trail = to.stat.trail;
  const auto count = static_cast<std::size_t>(from.trail_size());
  if (count > trail.nonces.size() || !to.record.ParseFromString(from.record())) return false;
  to.stat.version = from.version();
  trail.count = static_cast<std::uint8_t>(count);
  std::copy(from.trail().begin(), from.trail().end(), trail.nonces.begin());
  return true;
}

}  // namespace

std::string packed_intent(const MoveReading& written) {
  proto::Intent intent;
  pack(written.record().SerializeAsString(), written.entry.stat, *intent.mutable_move());
  for (const coord::EndpointEntry& member : written.members) {
    pack(member.record.SerializeAsString(), member.stat, *intent.add_members());
  }
  return intent.SerializeAsString();
}

std::optional<MoveReading> parsed_intent(const std::string& intent, const MoveReading& known) {
  proto::Intent packed;
  MoveReading read;
  if (intent.empty() || !packed.ParseFromString(intent)) return std::nullopt;
  if (!parse(packed.move(), read.entry)) return std::nullopt;
  // Nothing but the state, the progress and the times has changed since.
  stored::MigrationRecord expected = known.record();
  expected.set_state(Stored::MOVING);
  expected.clear_progress();
  expected.clear_times();
  if (read.record().has_progress()) *expected.mutable_progress() = read.record().progress();
  if (read.record().has_times()) *expected.mutable_times() = read.record().times();
  const bool same = expected.SerializeAsString() == read.record().SerializeAsString();
  if (!same || packed.members_size() != static_cast<int>(known.members.size())) {
    return std::nullopt;
  }
  for (int i = 0; i < packed.members_size(); ++i) {
    coord::EndpointEntry member;
    if (!parse(packed.members(i), member)) return std::nullopt;
    stored::EndpointRecord before = known.members[static_cast<std::size_t>(i)].record;
    before.set_state(stored::MOVING);
    if (before.SerializeAsString() != member.record.SerializeAsString()) return std::nullopt;
    read.members.push_back(std::move(member));
  }
  return read;
}

migrate::Record MoveReading::view() const {
  migrate::Record view;
  view.phase = ended ? migrate::Phase::ended : phase_of(record());
  view.process = record().target_process();
  view.torn = members.size() != static_cast<std::size_t>(record().members_size());
  if (members.empty()) {
    view.epoch = migrate::kOver;
    return view;
  }
  view.owner = members.front().record.owner().process();
  // One number for the group: the highest at the plan, and what the living have risen since.
  std::uint32_t highest = 0;
  std::int64_t risen = 0;
  for (const stored::MigrationMember& member : record().members()) {
    highest = std::max(highest, member.epoch());
    for (const coord::EndpointEntry& each : members) {
      if (!is_same_binding(member, each.record)) continue;
      risen = std::max(risen, std::int64_t{each.record.epoch()} - std::int64_t{member.epoch()});
    }
  }
  view.epoch = static_cast<migrate::Epoch>(highest + risen);
  return view;
}

endpoints::proto::MigrationInfo info_of(const Stored& record, std::uint32_t dc) {
  endpoints::proto::MigrationInfo info;
  info.set_id(record.id());
  info.set_dc(record.dc());
  for (const stored::MigrationMember& member : record.members()) {
    info.add_names(member.name());
    auto& place = *info.add_members();
    place.set_dc(dc);
    place.set_slot(member.slot());
    place.set_generation(member.generation());
    if (!member.name().empty()) place.set_name(record.dc() + "/" + member.name());
    place.set_lineage(member.lineage());
    place.set_epoch(member.epoch());
    place.set_state(stored::SERVING);
    place.set_node(record.source().node());
    place.set_process(record.source().process());
  }
  info.set_source_node(record.source().node());
  info.set_target_node(record.target_node());
  info.set_program(record.program());
  info.set_state(name_of(record.state()));
  info.set_abort_reason(record.abort_reason());
  info.set_aborted_by(record.aborted_by());
  info.set_requested_by(record.requested_by());
  auto& progress = *info.mutable_progress();
  progress.set_rounds(record.progress().rounds());
  progress.set_bytes_sent(record.progress().bytes_sent());
  progress.set_bytes_left(record.progress().bytes_left());
  progress.set_bytes_per_second(record.progress().bytes_per_second());
  const stored::MigrationTimes& known = record.times();
  info.set_planned_unix_ms(known.planned_unix_ms());
  info.set_prepared_unix_ms(known.prepared_unix_ms());
  info.set_intent_unix_ms(known.intent_unix_ms());
  info.set_ended_unix_ms(known.ended_unix_ms());
  auto& times = *info.mutable_times();
  times.set_copied_us(known.copied_us());
  times.set_closed_us(known.closed_us());
  times.set_transferred_us(known.transferred_us());
  times.set_restored_us(known.restored_us());
  // Of a move that succeeded no clock saw the whole: its parts, one after another.
  const bool moved = record.state() == Stored::COMMITTED;
  const bool whole = known.transferred_us() > 0 && known.target_blackout_us() > 0;
  const std::uint64_t parts =
      known.closed_us() + known.transferred_us() + known.target_blackout_us();
  times.set_blackout_us(!moved ? known.blackout_us() : whole ? parts : 0);
  times.set_target_blackout_us(known.target_blackout_us());
  info.set_committed_us(known.committed_us());
  return info;
}

stored::MigrationTimes times_of(const endpoints::proto::MoveTimes& times) {
  stored::MigrationTimes result;
  result.set_copied_us(times.copied_us());
  result.set_closed_us(times.closed_us());
  result.set_transferred_us(times.transferred_us());
  result.set_restored_us(times.restored_us());
  result.set_blackout_us(times.blackout_us());
  result.set_target_blackout_us(times.target_blackout_us());
  return result;
}

stored::MigrationProgress progress_of(const endpoints::proto::MoveProgress& progress) {
  stored::MigrationProgress result;
  result.set_rounds(progress.rounds());
  result.set_bytes_sent(progress.bytes_sent());
  result.set_bytes_left(progress.bytes_left());
  result.set_bytes_per_second(progress.bytes_per_second());
  return result;
}

std::string label_of(const Stored& record) {
  std::string name = "of DC '" + record.dc() + "'";
  if (record.members_size() == 0) return "endpoints " + name;
  const auto& first = record.members(0);
  std::string label = first.name().empty() ? "endpoint slot " + std::to_string(first.slot())
                                           : "endpoint '" + first.name() + "'";
  if (record.members_size() > 1) {
    label += " and " + std::to_string(record.members_size() - 1) + " more";
  }
  return label + " " + name;
}

}  // namespace godwit::node
