// FaultStage: a cluster with banks and clients on which fault cases are played one after another,
// and what must hold whenever nothing is under way.
//
// Safety is judged by evidence that no process holds alone: the ledgers of the bank's lives, and
// what clients were told. Liveness is judged by limits that follow from the protocol (kServeLimit).
//
// One thread.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "census.h"
#include "conductor.h"
#include "fault_case.h"
#include "ledger.h"
#include "local_cluster/temporary_directory.h"

namespace moves {

/// For a busy machine, beside what the protocol takes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr auto kSlack = std::chrono::seconds(15);
inline constexpr auto kPrepare = std::chrono::seconds(8);  // to start a program takes its time
#else
inline constexpr auto kSlack = std::chrono::seconds(5);
inline constexpr auto kPrepare = std::chrono::seconds(2);
#endif

/// Limits of the agents on the stage, short enough to wait for in each case.
struct StageLimits {
  std::chrono::milliseconds session{600};
  std::chrono::milliseconds node_grace{500};
  std::chrono::milliseconds reattach{1000};
  std::chrono::milliseconds prepare = kPrepare;
  std::chrono::milliseconds blackout{1000};

  static StageLimits of(Ground ground);
  /// After the last repair the record of a move ends within this.
  std::chrono::milliseconds until_end() const;
  /// After that somebody serves within this.
  std::chrono::milliseconds until_served() const;
};

class FaultStage {
 public:
  struct Setup {
    Ground ground = Ground::plain;
    std::string planted;  // a rule to be broken, in every process
  };
  /// The bank as the directory has it.
  struct Owner {
    std::string node;
    pid_t pid = 0;
    std::string state;
    unsigned epoch = 0;
  };
  struct Move {
    std::string id, state, reason;
  };

  /// Whether this machine has what the ground needs; else why not.
  static Result<void> supported(Ground ground);
  static Result<std::unique_ptr<FaultStage>> start(const Options& options, Setup setup);
  ~FaultStage();

  /// Until no move is under way, a living process serves the bank, every client has gone on, nobody
  /// is left over, and another move could begin. What is missing after the limits is the error.
  /// `may_rebind`: the memory may be lost, and then a new bank begins.
  Result<void> settle(bool may_rebind);
  /// Signs that a promise was broken, since it was asked last. `nodes_may_be_lost`: clients may
  /// have been taken for dead with their node, and are told that the relation with the bank is
  /// over.
  std::vector<std::string> new_evidence(bool nodes_may_be_lost = false);
  /// What clients complained of, for a case that failed.
  void print_words() const;
  /// Clients and agents end as they should.
  Result<void> finish();

  Result<std::optional<Owner>> owner();
  Result<Move> last_move();

  /// The folder in which the faults of a process are laid out; empty if it has none of its own.
  std::string agent_faults(const std::string& node) const;
  std::string bank_faults(const std::string& node) const;
  /// The bank of the node, or its agent, may end by itself from now on.
  void expect_end_of_bank(const std::string& node);
  /// Signals every process of the bank on the node.
  void signal_banks(const std::string& node, int number);
  /// Client `index` of those that live.
  Worker& client(std::size_t index) { return *clients_[index % clients_.size()]; }
  void kill_client(std::size_t index);

  Conductor& conductor() noexcept { return conductor_; }
  Cluster& cluster() noexcept { return cluster_; }
  Ground ground() const noexcept { return setup_.ground; }
  const StageLimits& limits() const noexcept { return limits_; }
  /// Every process of the bank that there is may stay; others that live later were left over.
  void remember_banks();

 private:
  FaultStage(const Options& options, Setup setup, Cluster cluster,
             godwit::local_cluster::TemporaryDirectory folder);

  /// What `godwit ARGUMENTS` prints, once an agent that has just come back can answer.
  Result<nlohmann::json> ask(const std::vector<std::string>& arguments);
  Result<void> add_bank(const std::string& node, bool stand_by);
  Result<void> add_client(const std::string& node);
  Result<void> wait_for_moves(Clock::time_point limit);
  Result<Owner> wait_for_owner(bool may_rebind, Clock::time_point limit);
  Result<void> wait_for_clients(Clock::time_point limit);
  Result<void> wait_for_leftovers(const Owner& owner);
  Result<void> make_standbys(const Owner& owner);
  bool is_alive(pid_t pid) const;
  /// The most that an agent or a client has open: sockets, and the memory that it shares.
  std::size_t descriptors();
  void judge_ledgers(std::vector<std::string>& evidence);
  void judge_clients(bool nodes_may_be_lost, std::vector<std::string>& evidence);
  void judge_death(const godwit::local_cluster::WorkerLine& death,
                   std::vector<std::string>& evidence);
  Ledger* ledger(std::uint64_t life);
  std::string ledger_folder() const { return folder_.file("ledgers"); }

  const Options& options_;
  const Setup setup_;
  const StageLimits limits_;
  godwit::local_cluster::TemporaryDirectory folder_;  // outlives the processes
  Cluster cluster_;
  Conductor conductor_;
  std::map<std::string, Worker*> banks_;  // by node, those that the stage has started
  std::map<std::string, std::string> bank_faults_;
  std::vector<Worker*> clients_, former_clients_;
  std::set<pid_t> known_banks_;
  std::map<std::uint64_t, std::unique_ptr<Ledger>> ledgers_;
  std::map<const Worker*, std::size_t> judged_;  // lines of clients
  // By life: operations out of order, and of old copies.
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> judged_faults_;
  std::set<std::pair<std::uint64_t, std::uint32_t>> doubled_;
  unsigned banks_started_ = 0;
  std::size_t descriptors_ = 0;  // when all was well for the first time
};

}  // namespace moves
