// World: one schedule. Nodes with agents, processes and clients, what lies between them, the
// directory, and what goes wrong.
//
// Everything follows from the seed: virtual time, one queue of events, one source of chance.
// Faults, moves and calls stop at Weather::kFaultyTime; then everything that is not lost for good
// works again, and the world must come to rest with nothing left behind.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent.h"
#include "client.h"
#include "directory.h"
#include "process.h"

namespace godwit::move_simulator {

class World {
 public:
  World(std::uint64_t seed, const Rules& rules, bool verbose = false);

  /// Runs the schedule to its end or to the first broken promise, which it returns ("": none).
  std::string run();

  struct Numbers {
    std::uint64_t steps = 0;
    std::uint64_t calls = 0;      // executed
    std::uint64_t moves = 0;      // planned
    std::uint64_t committed = 0;  // of these
    std::uint64_t aborted = 0;
    std::uint64_t deaths = 0;  // schedules in which an endpoint died
  };
  const Numbers& numbers() const noexcept { return numbers_; }

  // --- for the parts
  Random& random() { return random_; }
  const Rules& rules() const { return rules_; }
  const Weather& weather() const { return weather_; }
  Audit& audit() { return audit_; }
  const SimDirectory& directory() const { return directory_; }
  std::uint64_t now() const { return now_; }
  migrate::Time time() const { return time_of(now_); }
  std::uint32_t delay() { return random_.between(1, weather_.spread); }
  /// Some writes arrive long after they were issued.
  std::uint32_t write_delay();

  void at(std::uint32_t delay, What what, std::uint32_t a = 0, std::uint32_t b = 0,
          std::uint32_t c = 0, std::uint32_t d = 0);
  void at_agent(std::uint32_t delay, What what, NodeId node, std::uint32_t b = 0);

  void to_agent(ProcessId from, Message message);
  void to_process(NodeId from, ProcessId to, Message message);
  void to_dock(ProcessId from, ProcessId dock, Message message);
  void to_server(ClientId from, ProcessId to, const Message& message);
  void to_client(ProcessId from, ClientId to, const Message& message);
  /// Of an event that carries it: once.
  Message message(std::uint32_t index);

  SimAgent& agent(NodeId node) { return *agents_[node]; }
  SimProcess& process(ProcessId id) { return *processes_[id - 1]; }
  ProcessId processes() const { return processes_.size(); }
  ProcessId start_process(NodeId node);
  /// Whether the node's agent runs and a message to the directory would come through.
  bool reaches(NodeId node) const;

  std::uint32_t add(const Operation& operation);
  Operation& operation(std::uint32_t index) { return operations_[index]; }
  migrate::Epoch group_epoch(MoveId move) const;
  /// The living members that the process has in that reading.
  std::uint32_t members_of(std::uint32_t revision, ProcessId process) const;
  std::uint32_t open_gates() const;

  template <typename... Arguments>
  void log(const char* format, Arguments... arguments) const {
    if (verbose_) print(format, arguments...);
  }

 private:
  static constexpr std::uint64_t kRest = Weather::kFaultyTime + 1500;

  void print(const char* format, ...) const __attribute__((format(printf, 2, 3)));
  std::uint32_t post(const Message& message);
  void dispatch(const Event& event);
  void deliver(Party& party, const Event& event);
  void drop(const Event& event);
  void handle(const Event& event);
  void trace(const Event& event) const;

  // The directory's side.
  void read(const Event& event);
  void write(const Event& event);
  void look_up(const Event& event);
  std::uint32_t members_on(NodeId node) const;
  void changed();
  void expire(const Event& event);
  void judge(NodeId node);
  void update_reach(NodeId node);

  // Faults.
  void schedule_faults();
  std::uint32_t fault_time();
  ProcessId some_process();
  NodeId some_node();
  void crash_process(ProcessId id);
  void crash_agent(NodeId node);
  void pause();
  void wake(Party& party);
  void cut();
  void lose_node();
  void become_calm();

  void check_rest();
  void check_moves_are_over();
  void check_group_serves();

  Random random_;
  Weather weather_;
  Rules rules_;
  bool verbose_;
  Audit audit_;
  SimDirectory directory_;
  Numbers numbers_;

  std::uint64_t now_ = 0;
  std::uint32_t order_ = 0;
  bool calm_ = false;
  std::vector<Event> queue_;  // a heap
  std::vector<Message> messages_;
  std::vector<std::uint32_t> free_messages_;
  std::vector<Operation> operations_;
  std::vector<std::uint32_t> plans_;  // when moves are planned: faults gather there

  std::vector<std::unique_ptr<SimAgent>> agents_;
  std::vector<std::unique_ptr<SimProcess>> processes_;
  std::vector<std::unique_ptr<SimClient>> clients_;

  bool up_ = true;                        // the directory
  bool joined_[Weather::kMaxNodes] = {};  // the way from the node to it
  bool reached_[Weather::kMaxNodes] = {};
  bool lost_[Weather::kMaxNodes] = {};  // for good
  std::uint32_t silence_[Weather::kMaxNodes] = {};
  bool linked_[Weather::kMaxNodes][Weather::kMaxNodes] = {};  // [from][to]
  bool given_to_lost_ = false;  // the last commit went to an agent that was not registered
};

}  // namespace godwit::move_simulator
