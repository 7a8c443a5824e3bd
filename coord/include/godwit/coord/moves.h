// Moves: the directory's part of a move (docs/migration.md): the records of moves, and
// the steps that change them together with their members' endpoint records, one multi
// each, over a Coordinator.
//
// Owner: the agent, one per Coordinator, which must outlive it. It may be destroyed with
// operations under way; they complete. Directory::prepare makes the folders.
//
// Threads, deadlines and watchers: as in directory.h. A write whose answer was lost is
// settled by the coordinator, so a step answers what happened; `deadline` and
// `outcome_unknown` are the only answers after which it may have happened or not: read
// the move again.
//
// Errors, beside those of coordinator.h:
//   no_node         the move is not under way (any more): get() tells how it ended
//   bad_version     the step lost a race, or the move is in another state: read it again.
//                   failed_op: the member in the order of the record, -1: the move itself
//   endpoint_stale  a member cannot take this step (failed_op): it does not serve, moves
//                   already, or has left the move
//   node_taken      the target's agent of that incarnation is not registered any more
#pragma once

#include <godwit/coord/directory.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace godwit::coord {

using MoveEntry = Entry<proto::MigrationRecord>;

// Endpoints of one move; more: bad_argument.
inline constexpr std::size_t kMaxMembers = 64;
// Ended moves that are kept, the ones planned last. Whoever plans or aborts a move removes others,
// so a few more may be there.
inline constexpr std::size_t kPastMoves = 200;

// A move and its members as they were read or written last. In the order of the record;
// a member that died, was unbound or bound anew has left the move and is missing.
struct Move {
  MoveEntry entry;
  std::vector<EndpointEntry> members;
};

struct MovePlan {
  std::string dc;
  // As read. SERVING, of one process and one program, in no move.
  std::vector<EndpointEntry> members;
  std::string target_node;
  std::uint64_t target_incarnation = 0;
  std::string requested_by;  // node
};

// What a commit gives to the members.
struct MoveCommit {
  proto::Owner owner;                         // of the target node and incarnation
  std::vector<std::string> engine_addresses;  // one for each member
  proto::MigrationTimes times;                // what is known of them is added to the record's
  // Breaks the rule, for a test that must see it broken: writes over whatever has happened to the
  // members since, and leaves the move's record alone.
  bool unchecked = false;
};

struct MoveAbort {
  std::string reason;  // for people
  std::string by;      // node
  proto::MigrationTimes times;
};

class Moves {
 public:
  // `root` as the Directory's.
  explicit Moves(Coordinator& coordinator, std::string root = "/godwit");
  Moves(const Moves&) = delete;
  Moves& operator=(const Moves&) = delete;
  ~Moves();

  // --- Steps -----------------------------------------------------------------

  // PLANNED: makes the record, with a new id, and sets `migration` in each member. Errors:
  // endpoint_stale, bad_version (a member), node_taken. After `deadline` the members'
  // records tell whether there is a move, and its id.
  void plan(MovePlan plan, Deadline deadline, Callback<Move> done);

  // Rewrites the record of a move under way alone, at the version it was read at: PREPARED
  // with dock and target_process, progress. Members and identity must be as read. Errors:
  // no_node, bad_version.
  void update(MoveEntry entry, Deadline deadline, Callback<MoveEntry> done);

  // The intent: from PREPARED to MOVING, the members too. A record that only update() has
  // changed since it was read is read again; the members must be as given. Errors:
  // no_node, bad_version, endpoint_stale (a member has left).
  void begin(Move move, Deadline deadline, Callback<Move> done);

  // From MOVING: the members serve at the target, epoch + 1; the record is COMMITTED and
  // past. Only while the target's agent is registered with the record's incarnation. As to
  // versions it is like begin(). As clients wait for it, it is written in the calling thread
  // if that can be (WriteOn): `done` may be called before it returns. Errors: as begin(), and
  // node_taken.
  void commit(Move move, MoveCommit commit, Deadline deadline, Callback<Move> done);

  // From any state: the members serve at the source, those MOVING with epoch + 1; members
  // that have left are left alone; the record is ABORTED and past. Reads what it changes,
  // and tries again until it or another has ended the move. The answer has the members
  // that were given back. Errors: no_node.
  void abort(std::uint64_t id, MoveAbort abort, Deadline deadline, Callback<Move> done);

  // Adds times (those that are not 0) to the record of a move, under way or past: what
  // processes report after the end. Errors: no_node.
  void add_times(std::uint64_t id, proto::MigrationTimes times, Deadline deadline,
                 Callback<MoveEntry> done);

  // --- Reads -----------------------------------------------------------------

  // The record of a move under way, else of a past one. The watcher tells of changes and of
  // the end of a move under way; of a past one it is never called. Errors: no_node.
  void get(std::uint64_t id, Deadline deadline, Callback<MoveEntry> done, Watcher watcher = {});
  // The record of a move under way and its members: not one moment's view, but a step
  // with what was read succeeds only if it was. Errors: no_node.
  void get_with_members(std::uint64_t id, Deadline deadline, Callback<Move> done);
  // By the time of their plan. The watcher tells of moves that come and go, not of changes
  // within a record.
  void list_active(Deadline deadline, Callback<std::vector<MoveEntry>> done, Watcher watcher = {});
  // Newest first, at most `limit`.
  void list_past(std::size_t limit, Deadline deadline, Callback<std::vector<MoveEntry>> done);

 private:
  std::shared_ptr<Directory::Impl> impl_;
};

// The id of a move as paths and people have it: 16 hex digits.
std::string format_move_id(std::uint64_t id);

}  // namespace godwit::coord
