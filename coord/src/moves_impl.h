// What the steps and the reads of Moves share. They are Flows over Directory::Impl, whose
// helpers they use and whose state they do not touch; so they run on any thread.
#pragma once

#include <godwit/coord/moves.h>

#include "directory_impl.h"

#include <string>
#include <utility>
#include <vector>

namespace godwit::coord {

// Whether a record is still that of the member: same binding, and in this move.
bool is_member(const proto::MigrationRecord& move, const proto::MigrationMember& member,
               const proto::EndpointRecord& endpoint);

// The record of the move under way; no_node if there is none.
Step<MoveEntry> read_active(std::shared_ptr<Directory::Impl> self, std::uint64_t id,
                            Deadline deadline, Watcher watcher = {});
// The members as they are now; see Move::members.
Step<std::vector<EndpointEntry>> read_members(std::shared_ptr<Directory::Impl> self,
                                              proto::MigrationRecord move, Deadline deadline);

// Removes the oldest past moves but kPastMoves, and never `keep`. Best effort: what fails
// is done by the next.
Flow trim_past(std::shared_ptr<Directory::Impl> self, std::uint64_t keep);

// Answers an argument error on the callback thread, as every other answer.
template <typename T>
void refuse(Directory::Impl& impl, Error error, Callback<T> done) {
  impl.coordinator.run_at(
      Deadline{}, [error = std::move(error), done = std::move(done)] { answer(done, error); });
}

// Where the parts of a step's multi stand in it; -1: it has none.
struct StepLayout {
  int fence = -1;
  int first_member = -1;
  int members = 0;
  int active = -1;

  // The member that an operation is about, -1 if none.
  int member_of(int failed_op) const {
    const int member = failed_op - first_member;
    return first_member >= 0 && member >= 0 && member < members ? member : -1;
  }
};

// What a refused multi means for a step's caller: moves.h, "Errors".
Error explain(const Error& error, const StepLayout& layout, const proto::MigrationRecord& move);

// What to call a member in a message.
std::string label(const proto::MigrationRecord& move, const proto::EndpointRecord& member);

inline Error not_under_way(std::uint64_t id) {
  return {Errc::no_node, "move " + hex16(id) + " is not under way"};
}

}  // namespace godwit::coord
