// Mover: this agent's part in moves. It watches the moves under way, keeps a MoveDriver for each
// that this node is source or target of, and brings to them what processes and nodes do; it finds
// or starts the processes that take what comes here. A move that lost both its nodes it ends.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/move_driver.h"
#include "agent/programs.h"
#include "agent/standbys.h"

namespace godwit::node {

class Mover {
 public:
  struct Events {
    /// programs() may have changed; then `done`, once others can see it.
    std::function<void(std::function<void()> done)> programs_changed;
    /// What this node's processes hold has changed.
    std::function<void()> endpoints_changed;
  };

  Mover(MoveParts parts, ProgramSettings programs, Events events);
  ~Mover();

  /// The node is registered, maybe again: what is read from now on is not older than that.
  void start();
  void on_connected();

  /// Answers by `done`, maybe later. Errors: invalid_argument.
  using Done = std::function<void(Result<void>)>;
  void stand_by(const Process& process, const endpoints::proto::StandBy& request, Done done);
  void report(const Process& process, const endpoints::proto::MoveReport& report, Done done);

  /// A process is attached again, and has claimed what it holds.
  void on_attached(std::uint64_t process);
  void on_process_gone(std::uint64_t process);
  void on_nodes_changed();

  /// The programs that can take a group on this node.
  std::set<std::string> programs() const;

  /// The endpoint of the process may be another's already: its end is not the endpoint's.
  bool may_have_left(std::uint64_t process, const EndpointId& id) const;
  /// The process may be granted endpoints that it does not hold yet.
  bool is_unsettled(std::uint64_t process) const;

 private:
  using Key = std::pair<std::uint64_t, MoveDriver::Role>;
  struct Waiting {
    std::uint64_t process = 0;
    endpoints::proto::MoveReport report;
  };

  void look();
  void take(std::vector<coord::MoveEntry> entries);
  MoveDriver* find(std::uint64_t move, MoveDriver::Role role) const;
  /// The driver that a report of the process is for.
  MoveDriver* driver_of(std::uint64_t move, std::uint64_t process) const;
  MoveDriver& make(const coord::proto::MigrationRecord& record, MoveDriver::Role role);
  void take_report(std::uint64_t process, const endpoints::proto::MoveReport& report);
  void note_times(std::uint64_t move, coord::proto::MigrationTimes times);
  void look_up(std::uint64_t move);
  void looked_up(std::uint64_t move, coord::Result<coord::MoveEntry> entry);
  void find_process(MoveDriver& driver);
  void finished(MoveDriver& driver);
  void program_ended(std::uint64_t move, const std::string& how);
  void end_standbys_for(std::uint64_t move);
  void sweep(const std::vector<coord::MoveEntry>& entries);
  void sweep_one(const coord::proto::MigrationRecord& record);
  void later(EventLoop::TimerId& timer, std::chrono::milliseconds delay, void (Mover::*task)());

  const MoveParts parts_;
  const Events events_;
  MoveReader reader_;
  MoveWriter writer_;
  Programs programs_;
  Standbys standbys_;
  std::map<Key, std::unique_ptr<MoveDriver>> drivers_;
  std::map<std::uint64_t, std::vector<Waiting>> waiting_;  // reports, by move to be looked up
  std::set<std::uint64_t> looking_up_;
  std::set<std::uint64_t> lost_;     // processes that drivers were told to be lost
  std::set<std::uint64_t> granted_;  // processes that have served what came here
  bool listed_ = false;
  bool others_ = false;  // moves were listed that this node has no part in
  bool reading_ = false;
  bool again_ = false;
  bool armed_ = false;  // a watch on the list is pending
  bool erasing_ = false;
  EventLoop::TimerId retry_ = 0;
  EventLoop::TimerId look_up_timer_ = 0;
  EventLoop::TimerId sweep_timer_ = 0;
  Lifetime lifetime_;
};

}  // namespace godwit::node
