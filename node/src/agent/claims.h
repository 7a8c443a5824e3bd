// Claims: brings together what the directory says of this node's endpoints and what its processes
// hold, whenever the two may differ: after a restart of the agent (its processes attach again and
// claim what they have), after an expired session (others may have called them dead), after a write
// whose outcome stayed unknown.
//
// reclaim() confirms one endpoint of a living process. sweep() reads all records of this node;
// those that no attached process holds are leftovers, and are marked dead after the grace, unless a
// repeated bind (whose answer had been lost) adopts them before.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/dc_table.h"
#include "agent/process_table.h"
#include "agent/reaper.h"

namespace godwit::node {

class Claims {
 public:
  /// An endpoint turned out not to be the process's any more.
  using Lost = std::function<void(const Process& process, const KnownEndpoint& endpoint)>;
  using Reclaimed = std::function<void(Result<Known>)>;

  Claims(EventLoop& loop, coord::Directory& directory, DcTable& dcs, ProcessTable& processes,
         Reaper& reaper, std::string node, std::uint64_t incarnation,
         std::chrono::milliseconds grace, Lost lost);
  ~Claims();

  /// What a process says it holds; `last` ends its claims.
  void claim(Process& process, const endpoints::proto::Claim& claim);

  /// Makes the record say that this agent has it, with this engine address.
  void reclaim(const Known& endpoint, std::uint64_t process, coord::Deadline deadline,
               Reclaimed done);
  /// Confirms one endpoint that the process holds.
  void confirm_again(std::uint64_t process, const EndpointId& id);
  /// Processes for which this says true may hold more than they have claimed: their records are not
  /// leftovers yet.
  void set_unsettled(std::function<bool(std::uint64_t process)> unsettled) {
    unsettled_ = std::move(unsettled);
  }
  /// Confirms everything that is held: after an expired session.
  void reclaim_all();

  void sweep();
  /// Sweeps a while after now: after an unknown outcome.
  void sweep_later();
  /// Runs `task` once the first sweep is complete, or at the deadline.
  void when_swept(coord::Deadline deadline, std::function<void()> task);
  /// Takes a leftover of the process that an earlier form of this bind may have made, and that the
  /// process does not hold; nullptr: none.
  Known adopt(std::uint64_t process, const std::string& dc, const std::string& name,
              const std::string& engine_address);
  /// Whether a record of this node may still find its process.
  bool undecided(const KnownEndpoint& endpoint) const;

  void on_connected();

 private:
  struct Confirmation {
    std::uint64_t process;
    EndpointId id;
  };

  void pump();
  void confirm(const Confirmation& item);
  void confirm_in(const Confirmation& item, const std::string& dc);
  void confirmed(const Confirmation& item, Result<Known> result);
  void pause();
  void reclaim_attempt(Known endpoint, std::uint64_t process, coord::Deadline deadline,
                       int attempts, Reclaimed done);
  void sweep_dcs(std::vector<std::string> names);
  void take_record(const std::string& dc, const coord::proto::EndpointRecord& record);
  void sweep_done(bool complete);
  void bury_leftovers();
  void undelivered_after_claims(Process& process);

  EventLoop& loop_;
  coord::Directory& directory_;
  DcTable& dcs_;
  ProcessTable& processes_;
  Reaper& reaper_;
  const std::string node_;
  const std::uint64_t incarnation_;
  const std::chrono::milliseconds grace_;
  const Lost lost_;
  std::function<bool(std::uint64_t)> unsettled_;

  std::deque<Confirmation> queue_;
  std::size_t in_flight_ = 0;
  EventLoop::TimerId retry_ = 0;

  bool sweeping_ = false;
  bool swept_ = false;
  std::map<std::uint64_t, std::vector<Known>> leftovers_;  // by process
  std::vector<std::function<void()>> waiting_;
  EventLoop::TimerId sweep_timer_ = 0;
  EventLoop::TimerId bury_timer_ = 0;
  Lifetime lifetime_;
};

}  // namespace godwit::node
