// MoveDriver: this agent's part in one move, as its source or its target: the state machine of
// migrate/, with what it needs of the directory, the clock and the processes (docs/migration.md).
//
// It reads the move whenever a watch or a doubt says so, gives the machine what it read and what
// processes say, and carries out its actions. Readings and writes do not overlap: what was read
// before a write was issued is thrown away, so the machine is shown records in the order in which
// they were written.
//
// Owner: the Mover. Loop's thread.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "agent/claims.h"
#include "agent/directory_cache.h"
#include "agent/move_writer.h"
#include "agent/node_table.h"
#include "godwit/migrate/source_agent.h"
#include "godwit/migrate/target_agent.h"

namespace godwit::node {

/// What all drivers use of the agent.
struct MoveParts {
  EventLoop& loop;
  coord::Directory& directory;
  coord::Moves& moves;
  NodeTable& nodes;
  DcTable& dcs;
  ProcessTable& processes;
  DirectoryCache& cache;
  Claims& claims;
  Reaper& reaper;
  std::string node;
  std::uint64_t incarnation;
  std::chrono::milliseconds reattach_grace;
  migrate::Limits limits;
  /// The node's record stands in the directory.
  std::function<bool()> registered;
  /// Sends a push, with the DCs whose key the process may need first.
  std::function<void(SessionNumber, endpoints::proto::Response&,
                     const std::vector<std::shared_ptr<const Dc>>&)>
      push;
};

class MoveDriver {
 public:
  enum class Role : std::uint8_t { source, target };
  struct Hooks {
    /// Target: a process is to be found or started; then on_idle() or on_start_failed().
    std::function<void(MoveDriver&)> find_process;
    /// Nothing is left to do; it may be destroyed in a later round of the loop.
    std::function<void(MoveDriver&)> finished;
    /// What is known of how long steps took, and is not in the record yet.
    std::function<void(std::uint64_t move, coord::proto::MigrationTimes)> note_times;
  };

  MoveDriver(const MoveParts& parts, MoveReader& reader, MoveWriter& writer, Role role,
             coord::proto::MigrationRecord record, Hooks hooks);
  ~MoveDriver();

  /// Reads the move for the first time; reports that came before are given to the machine before.
  void begin();
  void refresh();

  void on_report(migrate::ProcessId process, const endpoints::proto::MoveReport& report);
  /// A process that can take the group: a standby, or one that was started for it.
  void on_idle(migrate::ProcessId process);
  void on_start_failed(std::string why);
  /// The process is attached again, and has said what it holds.
  void on_attached(migrate::ProcessId process);
  void on_process_lost(migrate::ProcessId process);
  void on_nodes_changed();

  std::uint64_t id() const noexcept { return reading_.record().id(); }
  Role role() const noexcept { return role_; }
  const coord::proto::MigrationRecord& record() const noexcept { return reading_.record(); }
  /// This side's: the source's, or that which is to serve (0: none yet).
  migrate::ProcessId process() const noexcept;
  bool finished() const noexcept { return finished_; }
  /// Target: still looks for a process.
  bool wants_process() const noexcept;
  /// Target: the group is this process's by the directory.
  bool granted() const noexcept;
  /// Source: the endpoint may be another's already.
  bool may_have_left(const EndpointId& id) const;
  bool has_member(std::uint32_t slot, std::uint32_t generation) const;

 private:
  void perform(const migrate::AgentActions& actions);
  void write(const migrate::AgentAction& action);
  void settled(MoveWriter::Settled settled);
  void push(const migrate::AgentAction& action);
  void take(MoveReading reading);
  void take_intent(const std::string& intent);
  void take_report(const endpoints::proto::MoveReport& report);
  void ended();
  void give_up_members();
  void adopt_members();
  void check_process();
  void lose_process(migrate::ProcessId process);
  void check_target();
  void write_progress();
  void save_times();
  bool in_blackout() const;
  void look_later(std::chrono::milliseconds delay);
  void arm();

  const MoveParts& parts_;
  MoveReader& reader_;
  MoveWriter& writer_;
  const Role role_;
  const Hooks hooks_;
  std::optional<migrate::SourceAgent> source_;
  std::optional<migrate::TargetAgent> target_;

  MoveReading reading_;
  bool has_read_ = false;
  bool reading_now_ = false;
  bool writing_ = false;
  bool again_ = false;        // look once more when what is under way is done
  bool armed_ = false;        // a watch on the active record is pending
  std::uint64_t writes_ = 0;  // issued; tells readings from before a write
  bool finished_ = false;
  migrate::ProcessId lost_ = 0;  // that is gone for good
  bool asking_target_ = false;
  bool writing_progress_ = false;
  bool adopted_ = false;  // the members are the process's in this node's tables, or dead with it
  std::optional<migrate::AgentAction> last_push_;

  // What processes reported.
  std::string detail_;  // of cannot
  coord::proto::MigrationDock dock_;
  std::vector<std::string> engine_addresses_;
  coord::proto::MigrationProgress progress_;
  coord::proto::MigrationTimes times_;  // not in the record yet

  EventLoop::TimerId deadline_timer_ = 0;
  EventLoop::TimerId absence_timer_ = 0;
  EventLoop::TimerId look_timer_ = 0;
  EventLoop::TimerId progress_timer_ = 0;
  Lifetime lifetime_;
};

}  // namespace godwit::node
