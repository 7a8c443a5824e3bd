// MoveReader: reads a move and its members so that the two fit together, though they are several
// records that others write meanwhile.
//
// Owner: the Mover. Loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "agent/move_view.h"
#include "agent/on_loop.h"
#include "godwit/coord/directory.h"

namespace godwit::node {

class MoveReader {
 public:
  using Done = std::function<void(coord::Result<MoveReading>)>;

  /// Nothing is read while `may_read` says no. A service may show a new session a past state, in
  /// which a move under way looks ended; not so once the session has written, as when it has
  /// registered the node.
  MoveReader(EventLoop& loop, coord::Directory& directory, coord::Moves& moves,
             std::function<bool()> may_read)
      : loop_(loop), directory_(directory), moves_(moves), may_read_(std::move(may_read)) {}

  /// `known`: the record as it was last seen, which stands in if neither an active nor a past one
  /// is left. The watcher, if given, is set on the record of a move under way. Errors are those of
  /// the way to the directory alone.
  void read(const coord::proto::MigrationRecord& known, coord::Deadline deadline,
            coord::Watcher watcher, Done done);

 private:
  struct Job {
    MoveReading reading;
    coord::Deadline deadline;
    Done done;
    bool incomplete = false;  // a member was missing though the record stood
    std::size_t unanswered = 0;
    std::vector<std::optional<coord::EndpointEntry>> found;
    std::optional<coord::Error> error;
  };
  using JobPtr = std::shared_ptr<Job>;

  void start(const JobPtr& job, coord::Watcher watcher);
  void read_record(const JobPtr& job, coord::Watcher watcher);
  void read_members(const JobPtr& job);
  void read_ended(const JobPtr& job);
  void answer_ended(const JobPtr& job);

  EventLoop& loop_;
  coord::Directory& directory_;
  coord::Moves& moves_;
  const std::function<bool()> may_read_;
  Lifetime lifetime_;
};

}  // namespace godwit::node
