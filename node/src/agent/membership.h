// Membership: this node's record in the directory: made at the start, again after an expired
// session, kept up to date, removed at the end.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/on_loop.h"
#include "godwit/coord/directory.h"
#include "godwit/error.h"

namespace godwit::node {

class Membership {
 public:
  struct Events {
    /// The record stands; `again`: after an expired session, in which others may have judged us
    /// lost.
    std::function<void(bool again)> registered;
    /// It never will: another agent has the node's name, or the store is unusable.
    std::function<void(const Error&)> hopeless;
    /// What the load in the record should say.
    std::function<coord::proto::NodeLoad()> load;
  };

  Membership(EventLoop& loop, coord::Directory& directory, coord::proto::NodeRecord record,
             std::uint64_t predecessor, std::chrono::milliseconds session_timeout, Events events);
  ~Membership();

  /// A session event of the coordinator.
  void on_session(coord::SessionEvent event);
  bool connected() const noexcept { return connected_; }
  bool registered() const noexcept { return entry_.has_value(); }
  std::uint64_t expirations() const noexcept { return expirations_; }

  /// Runs `task` once registered, or at the deadline; it looks which.
  void when_registered(coord::Deadline deadline, std::function<void()> task);
  /// The load changed: written soon, and not often.
  void load_changed();
  /// What the node can do: written at once. `done`, if given, is called when it stands in the
  /// directory, or when that failed (then it is tried again), or at once if not registered.
  void set_capabilities(const std::set<std::string>& capabilities, std::function<void()> done = {});
  /// Removes the record, then calls `done`, at the deadline at the latest.
  void leave(coord::Deadline deadline, std::function<void()> done);

 private:
  void prepare();
  void register_node();
  void retry(std::function<void()> step);
  void write_record();

  EventLoop& loop_;
  coord::Directory& directory_;
  coord::proto::NodeRecord record_;
  std::uint64_t predecessor_;
  const std::chrono::milliseconds register_limit_;
  const Events events_;
  bool connected_ = false;
  bool prepared_ = false;
  bool busy_ = false;  // a step of the registration is under way
  bool leaving_ = false;
  bool expired_since_ = false;
  bool registered_before_ = false;
  std::uint64_t expirations_ = 0;
  std::optional<coord::NodeEntry> entry_;
  bool writing_ = false;
  bool write_again_ = false;
  std::vector<std::function<void()>> told_when_written_, told_when_written_next_;
  std::vector<std::function<void()>> waiting_;
  EventLoop::TimerId retry_timer_ = 0;
  EventLoop::TimerId load_timer_ = 0;
  Lifetime lifetime_;
};

}  // namespace godwit::node
