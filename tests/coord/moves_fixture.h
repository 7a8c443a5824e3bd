// What the tests of Moves share: agents of a source and a target node, each with its own
// session, and a move taken to a given state.
#pragma once

#include "coord/backend.h"

#include <godwit/coord/blocking.h>
#include <godwit/coord/moves.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace godwit::coord {

using State = proto::MigrationRecord;

template <typename T>
Errc code_of(const Result<T>& result) {
  EXPECT_FALSE(result.has_value()) << "succeeded, but must not";
  return result ? Errc::closed : result.error().code;
}

// An agent of a node: its session and what it does with the directory. Blocking.
class MoveAgent {
 public:
  static constexpr std::uint64_t kSourceProcess = 71;
  static constexpr std::uint64_t kTargetProcess = 72;
  static constexpr std::uint64_t kTargetIncarnation = 2;

  explicit MoveAgent(std::unique_ptr<Coordinator> opened)
      : coordinator(std::move(opened)), directory(*coordinator), moves(*coordinator) {}
  ~MoveAgent() { coordinator->close(); }

  template <typename T>
  Result<T> wait(const std::function<void(Callback<T>)>& start) {
    return blocking::wait<T>(*coordinator, soon(), start);
  }
  Result<NodeEntry> enroll(const std::string& node, std::uint64_t incarnation,
                           std::uint64_t predecessor = 0) {
    proto::NodeRecord record;
    record.set_name(node);
    record.set_incarnation(incarnation);
    return wait<NodeEntry>(
        [&](auto done) { directory.register_node(record, predecessor, soon(), done); });
  }
  Result<EndpointEntry> bind(const std::string& name, const std::string& program = "prog") {
    BindRequest request;
    request.dc = "demo";
    request.name = name;
    request.owner.set_node("source");
    request.owner.set_node_incarnation(1);
    request.owner.set_process(kSourceProcess);
    request.engine_address = "old";
    request.program = program;
    return wait<EndpointEntry>([&](auto done) { directory.bind(request, soon(), done); });
  }
  Result<EndpointEntry> endpoint(std::uint32_t slot) {
    return wait<EndpointEntry>(
        [&](auto done) { directory.get_endpoint("demo", slot, soon(), done); });
  }
  Result<void> unbind(const proto::EndpointRecord& e) {
    return wait<void>([&](auto done) {
      directory.unbind("demo", e.slot(), e.generation(), kSourceProcess, soon(), done);
    });
  }
  Result<void> mark_dead(const proto::EndpointRecord& e) {
    return wait<void>([&](auto done) {
      directory.mark_dead("demo", e.slot(), e.generation(), kSourceProcess, soon(), done);
    });
  }

  static MovePlan plan_of(std::vector<EndpointEntry> members) {
    return {"demo", std::move(members), "target", kTargetIncarnation, "source"};
  }
  static MoveCommit commit_of(const Move& move) {
    MoveCommit commit;
    commit.owner.set_node("target");
    commit.owner.set_node_incarnation(kTargetIncarnation);
    commit.owner.set_process(kTargetProcess);
    commit.engine_addresses.assign(move.members.size(), "new");
    commit.times.set_restored_us(1234);
    return commit;
  }
  static MoveAbort why(const std::string& reason) { return {reason, "source", {}}; }

  Result<Move> plan(MovePlan plan) {
    return wait<Move>([&](auto done) { moves.plan(plan, soon(), done); });
  }
  Result<Move> plan(std::vector<EndpointEntry> members) {
    return plan(plan_of(std::move(members)));
  }
  Result<MoveEntry> update(const MoveEntry& entry) {
    return wait<MoveEntry>([&](auto done) { moves.update(entry, soon(), done); });
  }
  Result<Move> prepare(Move move) {
    move.entry.record.set_state(State::PREPARED);
    move.entry.record.mutable_dock()->set_slot(99);
    move.entry.record.set_target_process(kTargetProcess);
    auto updated = update(move.entry);
    if (!updated) return tl::unexpected<Error>(updated.error());
    move.entry = *updated;
    return move;
  }
  Result<Move> begin(const Move& move) {
    return wait<Move>([&](auto done) { moves.begin(move, soon(), done); });
  }
  Result<Move> commit(const Move& move) {
    return wait<Move>([&](auto done) { moves.commit(move, commit_of(move), soon(), done); });
  }
  Result<Move> abort(std::uint64_t id, const std::string& reason = "test") {
    return wait<Move>([&](auto done) { moves.abort(id, why(reason), soon(), done); });
  }
  Result<MoveEntry> get(std::uint64_t id, Watcher watcher = {}) {
    return wait<MoveEntry>([&](auto done) { moves.get(id, soon(), done, watcher); });
  }
  Result<Move> get_with_members(std::uint64_t id) {
    return wait<Move>([&](auto done) { moves.get_with_members(id, soon(), done); });
  }
  std::vector<std::uint64_t> active(Watcher watcher = {}) {
    return ids(
        wait<std::vector<MoveEntry>>([&](auto done) { moves.list_active(soon(), done, watcher); }));
  }
  std::vector<std::uint64_t> past(std::size_t limit = 1000) {
    return ids(
        wait<std::vector<MoveEntry>>([&](auto done) { moves.list_past(limit, soon(), done); }));
  }

  // A planned move of these, taken to `state` (not an end).
  Result<Move> move_in(State::State state, std::vector<EndpointEntry> members) {
    auto move = plan(std::move(members));
    if (move && state != State::PLANNED) move = prepare(*move);
    if (move && state == State::MOVING) move = begin(*move);
    return move;
  }

  const std::unique_ptr<Coordinator> coordinator;
  Directory directory;
  Moves moves;

 private:
  static std::vector<std::uint64_t> ids(const Result<std::vector<MoveEntry>>& entries) {
    std::vector<std::uint64_t> all;
    EXPECT_TRUE(entries) << entries.error().message;
    if (entries)
      for (const MoveEntry& entry : *entries) all.push_back(entry.record.id());
    return all;
  }
};

// A DC "demo", and registered agents of the nodes "source" and "target".
class MovesFixture : public ::testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override {
    backend_ = GetParam().make();
    if (!backend_->skip_reason.empty()) GTEST_SKIP() << backend_->skip_reason;
    source_ = open();
    target_ = open();
    ASSERT_TRUE(source_ && target_);
    ASSERT_TRUE(source_->wait<void>([&](auto done) { source_->directory.prepare(soon(), done); }));
    DcRequest dc;
    dc.name = "demo";
    ASSERT_TRUE(
        source_->wait<DcEntry>([&](auto done) { source_->directory.create_dc(dc, soon(), done); }));
    ASSERT_TRUE(source_->enroll("source", 1));
    auto registered = target_->enroll("target", MoveAgent::kTargetIncarnation);
    ASSERT_TRUE(registered) << registered.error().message;
    target_node_ = *registered;
  }
  std::unique_ptr<MoveAgent> open() {
    auto coordinator = backend_->open();
    return coordinator ? std::make_unique<MoveAgent>(std::move(coordinator)) : nullptr;
  }
  MoveAgent& s() { return *source_; }
  MoveAgent& t() { return *target_; }

  std::vector<EndpointEntry> group(int count) {
    std::vector<EndpointEntry> members;
    for (int i = 0; i < count; ++i) {
      auto bound = s().bind("member/" + std::to_string(bound_++));
      EXPECT_TRUE(bound) << bound.error().message;
      members.push_back(std::move(*bound));
    }
    return members;
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<MoveAgent> source_;
  std::unique_ptr<MoveAgent> target_;
  NodeEntry target_node_;
  int bound_ = 0;
};

}  // namespace godwit::coord
