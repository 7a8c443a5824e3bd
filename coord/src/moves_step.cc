// Moves: the steps of a move under way: intent, commit, abort.
#include "moves_impl.h"
#include "unix_time.h"

#include <functional>
#include <utility>

namespace godwit::coord {
namespace {

using Impl = Directory::Impl;
using MoveRecord = proto::MigrationRecord;

// One multi, and what there is once it is written.
struct StepWrite {
  std::vector<WriteOp> ops;
  StepLayout layout;
  Move after;
};

void add_members(const Impl& impl, StepWrite& write) {
  write.layout.first_member = static_cast<int>(write.ops.size());
  write.layout.members = static_cast<int>(write.after.members.size());
  for (const EndpointEntry& member : write.after.members)
    write.ops.push_back(
        SetOp{impl.paths.endpoint(write.after.entry.record.dc(), member.record.slot()),
              pack(member.record), member.stat});
}

// The record goes from active to past; `write.after` has it as it ended.
void add_end(const Impl& impl, StepWrite& write) {
  MoveRecord& record = write.after.entry.record;
  record.mutable_times()->set_ended_unix_ms(unix_ms());
  write.layout.active = static_cast<int>(write.ops.size());
  write.ops.push_back(RemoveOp{impl.paths.active_move(record.id()), write.after.entry.stat});
  write.ops.push_back(
      CreateOp{impl.paths.past_move(record.id()), pack(record), CreateMode::persistent});
}

// The move's own record is the last but for the removal before it.
Move written_move(StepWrite write, const std::vector<Stat>& stats) {
  for (std::size_t i = 0; i < write.after.members.size(); ++i)
    write.after.members[i].stat = stats[static_cast<std::size_t>(write.layout.first_member) + i];
  write.after.entry.stat = stats.back();
  return std::move(write.after);
}

StepWrite intent_of(const Impl& impl, Move move) {
  StepWrite write;
  MoveRecord& record = move.entry.record;
  record.set_state(MoveRecord::MOVING);
  record.mutable_times()->set_intent_unix_ms(unix_ms());
  for (EndpointEntry& member : move.members) member.record.set_state(proto::MOVING);
  write.after = std::move(move);
  add_members(impl, write);
  const MoveEntry& entry = write.after.entry;
  write.layout.active = static_cast<int>(write.ops.size());
  write.ops.push_back(
      SetOp{impl.paths.active_move(entry.record.id()), pack(entry.record), entry.stat});
  return write;
}

StepWrite commit_of(const Impl& impl, Move move, const MoveCommit& commit) {
  StepWrite write;
  MoveRecord& record = move.entry.record;
  record.set_state(MoveRecord::COMMITTED);
  record.mutable_times()->MergeFrom(commit.times);
  for (std::size_t i = 0; i < move.members.size(); ++i) {
    proto::EndpointRecord& member = move.members[i].record;
    member.set_state(proto::SERVING);
    member.set_epoch(member.epoch() + 1);
    *member.mutable_owner() = commit.owner;
    member.set_engine_address(commit.engine_addresses[i]);
    member.clear_migration();
  }
  write.layout.fence = static_cast<int>(write.ops.size());
  write.ops.push_back(CheckOp{
      impl.paths.incarnation(record.target_node(), record.target_incarnation()), Expected::any()});
  write.after = std::move(move);
  add_members(impl, write);
  if (commit.unchecked) {
    for (WriteOp& op : write.ops)
      if (auto* set = std::get_if<SetOp>(&op)) set->expected = Expected::any();
    return write;
  }
  add_end(impl, write);
  return write;
}

StepWrite abort_of(const Impl& impl, Move move, const MoveAbort& abort) {
  StepWrite write;
  MoveRecord& record = move.entry.record;
  record.set_state(MoveRecord::ABORTED);
  record.set_abort_reason(abort.reason);
  record.set_aborted_by(abort.by);
  record.mutable_times()->MergeFrom(abort.times);
  for (EndpointEntry& each : move.members) {
    proto::EndpointRecord& member = each.record;
    // Clients may have seen signs of the old session once the source could stop.
    if (member.state() == proto::MOVING) member.set_epoch(member.epoch() + 1);
    member.set_state(proto::SERVING);
    member.clear_migration();
  }
  write.after = std::move(move);
  add_members(impl, write);
  add_end(impl, write);
  return write;
}

// Whether the members given are all there and in the state that the step starts from.
Result<void> check_members(const Move& move, proto::EndpointState from) {
  const MoveRecord& record = move.entry.record;
  const auto all = static_cast<std::size_t>(record.members_size());
  if (move.members.size() != all)
    return fail(Errc::endpoint_stale, "only " + std::to_string(move.members.size()) + " of " +
                                          std::to_string(all) + " members are still in move " +
                                          hex16(record.id()));
  for (int i = 0; i < record.members_size(); ++i) {
    const proto::EndpointRecord& member = move.members[static_cast<std::size_t>(i)].record;
    if (!is_member(record, record.members(i), member) || member.state() != from)
      return fail(Errc::endpoint_stale,
                  label(record, member) + " is not " + proto::EndpointState_Name(from) +
                      " in move " + hex16(record.id()),
                  i);
  }
  return {};
}

// Intent and commit: from a state of the move to the next at the members' versions.
Flow step_flow(std::shared_ptr<Impl> self, Move move, MoveRecord::State from,
               std::function<StepWrite(Move)> make, WriteOn where, Deadline deadline,
               Callback<Move> done) {
  for (;;) {
    const std::uint64_t id = move.entry.record.id();
    if (move.entry.record.state() != from) {
      answer(done, {Errc::bad_version, "move " + hex16(id) + " is " +
                                           MoveRecord::State_Name(move.entry.record.state()) +
                                           ", not " + MoveRecord::State_Name(from)});
      co_return;
    }
    StepWrite write = make(move);
    const StepLayout layout = write.layout;
    const auto written = co_await self->multi(write.ops, deadline, where);
    if (written) {
      done(written_move(std::move(write), *written));
      co_return;
    }
    const Error error = explain(written.error(), layout, move.entry.record);
    if (error.code != Errc::bad_version) {
      answer(done, error);
      co_return;
    }
    auto now = co_await read_active(self, id, deadline);
    if (!now) {
      answer(done, now.error());
      co_return;
    }
    // A member changed, or only what the move's record says beside them?
    if (error.failed_op >= 0) {
      answer(done, error);
      co_return;
    }
    move.entry = std::move(*now);
  }
}

Flow abort_flow(std::shared_ptr<Impl> self, std::uint64_t id, MoveAbort abort, Deadline deadline,
                Callback<Move> done) {
  for (;;) {
    Move move;
    auto active = co_await read_active(self, id, deadline);
    if (!active) {
      answer(done, active.error());
      co_return;
    }
    auto members = co_await read_members(self, active->record, deadline);
    if (!members) {
      answer(done, members.error());
      co_return;
    }
    move.entry = std::move(*active);
    move.members = std::move(*members);
    StepWrite write = abort_of(*self, move, abort);
    const auto written = co_await self->multi(write.ops, deadline);
    if (written) {
      done(written_move(std::move(write), *written));
      trim_past(self, id);
      co_return;
    }
    // A member died or was unbound, or the move went on or ended: as it is now, then.
    const Error error = explain(written.error(), write.layout, move.entry.record);
    if (error.code != Errc::bad_version) {
      answer(done, error);
      co_return;
    }
  }
}

}  // namespace

Error explain(const Error& error, const StepLayout& layout, const proto::MigrationRecord& move) {
  const bool lost_race = error.code == Errc::bad_version || error.code == Errc::no_node;
  const int member = layout.member_of(error.failed_op);
  if (lost_race && error.failed_op >= 0 && error.failed_op == layout.fence)
    return {Errc::node_taken, "node '" + move.target_node() +
                                  "' is not registered any more by the agent of incarnation " +
                                  hex16(move.target_incarnation())};
  if (lost_race && member >= 0)
    return {Errc::bad_version,
            "a member of move " + hex16(move.id()) + " has changed: " + error.message, member};
  if (lost_race && error.failed_op >= 0 && error.failed_op == layout.active)
    return {Errc::bad_version, "move " + hex16(move.id()) + " has changed: " + error.message};
  return {error.code, error.message, member};
}

void Moves::begin(Move move, Deadline deadline, Callback<Move> done) {
  if (auto valid = check_members(move, proto::SERVING); !valid)
    return refuse(*impl_, std::move(valid.error()), std::move(done));
  step_flow(
      impl_, std::move(move), MoveRecord::PREPARED,
      [impl = impl_](Move from) { return intent_of(*impl, std::move(from)); },
      WriteOn::callback_thread, deadline, std::move(done));
}

void Moves::commit(Move move, MoveCommit commit, Deadline deadline, Callback<Move> done) {
  const MoveRecord& record = move.entry.record;
  auto valid = check_members(move, proto::MOVING);
  if (valid && (commit.owner.node() != record.target_node() ||
                commit.owner.node_incarnation() != record.target_incarnation() ||
                commit.owner.process() != record.target_process()))
    valid =
        fail(Errc::bad_argument, "the new owner is not the target of move " + hex16(record.id()));
  if (valid && commit.engine_addresses.size() != move.members.size())
    valid = fail(Errc::bad_argument, "a commit needs an engine address for each member");
  if (!valid) return refuse(*impl_, std::move(valid.error()), std::move(done));
  step_flow(
      impl_, std::move(move), MoveRecord::MOVING,
      [impl = impl_, commit = std::move(commit)](Move from) {
        return commit_of(*impl, std::move(from), commit);
      },
      WriteOn::calling_thread, deadline, std::move(done));
}

void Moves::abort(std::uint64_t id, MoveAbort abort, Deadline deadline, Callback<Move> done) {
  constexpr std::size_t kReasonLimit = 4096;
  abort.reason = readable_text(abort.reason, kReasonLimit);
  abort.by = readable_text(abort.by, kMaxNameBytes);
  abort_flow(impl_, id, std::move(abort), deadline, std::move(done));
}

}  // namespace godwit::coord
