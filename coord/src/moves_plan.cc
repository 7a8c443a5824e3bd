// Moves: the plan, and what is written to the move's own record alone.
#include "moves_impl.h"
#include "random.h"
#include "unix_time.h"

#include <set>
#include <utility>

namespace godwit::coord {
namespace {

using Impl = Directory::Impl;

// 41 bits of time and 22 of chance: names of records sort by the time of the plan.
std::uint64_t new_move_id() {
  constexpr int kRandomBits = 22;
  return (static_cast<std::uint64_t>(unix_ms()) << kRandomBits) |
         (random_u64() & ((1U << kRandomBits) - 1));
}

proto::MigrationRecord record_of(const MovePlan& plan) {
  proto::MigrationRecord record;
  record.set_schema(kDirectorySchema);
  record.set_dc(plan.dc);
  for (const EndpointEntry& each : plan.members) {
    proto::MigrationMember& member = *record.add_members();
    member.set_slot(each.record.slot());
    member.set_generation(each.record.generation());
    member.set_lineage(each.record.lineage());
    member.set_epoch(each.record.epoch());
    member.set_name(each.record.name());
  }
  const proto::EndpointRecord& first = plan.members.front().record;
  *record.mutable_source() = first.owner();
  record.set_target_node(plan.target_node);
  record.set_target_incarnation(plan.target_incarnation);
  record.set_program(first.program());
  record.set_state(proto::MigrationRecord::PLANNED);
  record.set_requested_by(plan.requested_by);
  return record;
}

// Whether an endpoint can be taken into a move as it is.
Result<void> available(const proto::MigrationRecord& move, const proto::EndpointRecord& endpoint,
                       int index) {
  const auto refused = [&](const std::string& why) {
    return fail(Errc::endpoint_stale, label(move, endpoint) + " " + why, index);
  };
  if (endpoint.has_migration())
    return refused("is in move " + hex16(endpoint.migration().id()) + " already");
  if (endpoint.state() != proto::SERVING)
    return refused("does not serve: " + proto::EndpointState_Name(endpoint.state()));
  return {};
}

Result<void> check_plan(const MovePlan& plan) {
  auto valid = validate_name("DC name", plan.dc);
  if (valid) valid = validate_name("target node name", plan.target_node);
  if (valid) valid = validate_name("requesting node name", plan.requested_by);
  if (!valid) return valid;
  const auto bad = [](const std::string& why, int index = -1) {
    return fail(Errc::bad_argument, why, index);
  };
  if (plan.target_incarnation == 0) return bad("a node's incarnation must not be 0");
  if (plan.members.empty()) return bad("a move needs at least one endpoint");
  if (plan.members.size() > kMaxMembers)
    return bad("a move of " + std::to_string(plan.members.size()) + " endpoints; the limit is " +
               std::to_string(kMaxMembers));
  const proto::MigrationRecord record = record_of(plan);
  const proto::EndpointRecord& first = plan.members.front().record;
  std::set<std::uint32_t> slots;
  for (int i = 0; i < record.members_size(); ++i) {
    const proto::EndpointRecord& each = plan.members[static_cast<std::size_t>(i)].record;
    const std::string name = label(record, each);
    if (!slots.insert(each.slot()).second) return bad(name + " is given twice", i);
    if (auto serves = available(record, each, i); !serves) return serves;
    if (each.program().empty()) return bad(name + " cannot move: it has no program", i);
    if (each.dc() != first.dc() || each.program() != first.program() ||
        each.owner().node() != first.owner().node() ||
        each.owner().process() != first.owner().process())
      return bad(name + " is not of the same DC, process and program as the first", i);
  }
  return {};
}

Flow plan_flow(std::shared_ptr<Impl> self, MovePlan plan, Deadline deadline, Callback<Move> done) {
  Move move;
  move.entry.record = record_of(plan);
  move.members = std::move(plan.members);
  proto::MigrationRecord& record = move.entry.record;
  const StepLayout layout{.fence = 0, .first_member = 1, .members = record.members_size()};
  const int creation = layout.first_member + layout.members;
  for (;;) {
    record.set_id(new_move_id());
    record.mutable_times()->set_planned_unix_ms(unix_ms());
    std::vector<WriteOp> ops;
    ops.push_back(
        CheckOp{self->paths.incarnation(record.target_node(), record.target_incarnation()),
                Expected::any()});
    for (EndpointEntry& member : move.members) {
      proto::Migration& migration = *member.record.mutable_migration();
      migration.set_id(record.id());
      migration.set_target_node(record.target_node());
      migration.set_target_incarnation(record.target_incarnation());
      ops.push_back(SetOp{self->paths.endpoint(record.dc(), member.record.slot()),
                          pack(member.record), member.stat});
    }
    ops.push_back(
        CreateOp{self->paths.active_move(record.id()), pack(record), CreateMode::persistent});
    const auto written = co_await self->multi(std::move(ops), deadline);
    if (written) {
      for (std::size_t i = 0; i < move.members.size(); ++i)
        move.members[i].stat = (*written)[i + 1];
      move.entry.stat = written->back();
      const std::uint64_t id = record.id();
      done(std::move(move));
      // Not at the end of one, which clients wait for.
      trim_past(self, id);
      co_return;
    }
    // Another plan of the same millisecond drew the same number.
    if (written.error().code == Errc::node_exists && written.error().failed_op == creation)
      continue;
    const Error error = explain(written.error(), layout, record);
    if (error.code == Errc::bad_version && error.failed_op >= 0) {
      // Changed since it was read; if that made it unable to move, say so.
      const auto& changed = move.members[static_cast<std::size_t>(error.failed_op)].record;
      const std::string path = self->paths.endpoint(record.dc(), changed.slot());
      const auto stored = co_await self->get(path, deadline);
      const auto now = stored ? unpack<proto::EndpointRecord>(path, *stored)
                              : Result<EndpointEntry>(tl::unexpected<Error>(stored.error()));
      if (now) {
        if (auto serves = available(record, now->record, error.failed_op); !serves) {
          answer(done, serves.error());
          co_return;
        }
      }
    }
    answer(done, error);
    co_return;
  }
}

Flow update_flow(std::shared_ptr<Impl> self, MoveEntry entry, Deadline deadline,
                 Callback<MoveEntry> done) {
  proto::MigrationRecord& record = entry.record;
  if (record.state() == proto::MigrationRecord::PREPARED && record.times().prepared_unix_ms() == 0)
    record.mutable_times()->set_prepared_unix_ms(unix_ms());
  const auto set =
      co_await self->set(self->paths.active_move(record.id()), pack(record), entry.stat, deadline);
  if (set) {
    entry.stat = *set;
    done(std::move(entry));
  } else if (set.error().code == Errc::no_node) {
    answer(done, not_under_way(record.id()));
  } else {
    answer(done, set.error());
  }
}

// First where a move under way stands, then where a past one does; between the two reads
// it may pass from one to the other, but never back.
Flow add_times_flow(std::shared_ptr<Impl> self, std::uint64_t id, proto::MigrationTimes times,
                    Deadline deadline, Callback<MoveEntry> done) {
  bool past = false;
  for (;;) {
    const std::string path = past ? self->paths.past_move(id) : self->paths.active_move(id);
    const auto stored = co_await self->get(path, deadline);
    auto entry = stored ? unpack<proto::MigrationRecord>(path, *stored)
                        : Result<MoveEntry>(tl::unexpected<Error>(stored.error()));
    if (entry) {
      entry->record.mutable_times()->MergeFrom(times);
      const auto set = co_await self->set(path, pack(entry->record), entry->stat, deadline);
      if (set) {
        entry->stat = *set;
        done(std::move(entry));
        co_return;
      }
      if (set.error().code == Errc::bad_version) continue;
      entry = tl::unexpected<Error>(set.error());
    }
    if (entry.error().code != Errc::no_node || past) {
      answer(done, entry.error().code == Errc::no_node
                       ? Error{Errc::no_node, "no move " + hex16(id)}
                       : entry.error());
      co_return;
    }
    past = true;
  }
}

}  // namespace

std::string label(const proto::MigrationRecord& move, const proto::EndpointRecord& member) {
  const std::string slot = "slot " + std::to_string(member.slot());
  return "endpoint " + (member.name().empty() ? slot : "'" + member.name() + "'") + " of DC '" +
         move.dc() + "'";
}

void Moves::plan(MovePlan plan, Deadline deadline, Callback<Move> done) {
  if (auto valid = check_plan(plan); !valid)
    return refuse(*impl_, std::move(valid.error()), std::move(done));
  plan_flow(impl_, std::move(plan), deadline, std::move(done));
}

void Moves::update(MoveEntry entry, Deadline deadline, Callback<MoveEntry> done) {
  const auto state = entry.record.state();
  if (state != proto::MigrationRecord::PLANNED && state != proto::MigrationRecord::PREPARED &&
      state != proto::MigrationRecord::MOVING)
    return refuse(*impl_, {Errc::bad_argument, "a move is not ended by an update"},
                  std::move(done));
  update_flow(impl_, std::move(entry), deadline, std::move(done));
}

void Moves::add_times(std::uint64_t id, proto::MigrationTimes times, Deadline deadline,
                      Callback<MoveEntry> done) {
  add_times_flow(impl_, id, std::move(times), deadline, std::move(done));
}

}  // namespace godwit::coord
