// Directory: the records of the cluster (directory.proto), typed, over a Coordinator:
// nodes, DCs, endpoints and their names. Every change is a compare-and-set, and what
// belongs together (a name and its endpoint) changes in one multi.
//
// Owner: the agent, one per Coordinator, which must outlive it. It may be destroyed with
// operations under way; they complete.
//
// Threads: methods from any thread; callbacks and watchers on the coordinator's
// callback thread. Deadlines, errors and watchers are as in coordinator.h; a method
// of several steps has one deadline, and answers `deadline` when a write of it may
// have happened. Names are given plain ("web/fs"), see names.h.
#pragma once

#include <godwit/coord/coordinator.h>
#include <godwit/coord/directory.pb.h>
#include <godwit/coord/names.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::coord {

// The schema number that this build writes, and the highest that it reads.
inline constexpr std::uint32_t kDirectorySchema = 1;
// Slots that an agent takes from a DC at once.
inline constexpr std::uint32_t kSlotBlock = 1024;

// A record with what its next compare-and-set expects.
template <typename T>
struct Entry {
  T record;
  Stat stat;
};
using NodeEntry = Entry<proto::NodeRecord>;
using DcEntry = Entry<proto::DcRecord>;
using NameEntry = Entry<proto::NameRecord>;
using EndpointEntry = Entry<proto::EndpointRecord>;

struct SlotRange {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

struct DcRequest {
  std::string name;
  std::vector<std::string> nodes;
  proto::DcLimits limits;
  std::string key_id;
};

struct BindRequest {
  std::string dc;
  std::string name;  // empty: anonymous
  proto::Owner owner;
  std::string engine_address;
  std::string program;  // that can serve it elsewhere; empty: it cannot move
};

class Directory {
 public:
  // `root` is the folder of all records, without a trailing '/'.
  explicit Directory(Coordinator& coordinator, std::string root = "/godwit");
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory();

  // Makes the fixed folders; call it once after the first `connected`.
  void prepare(Deadline deadline, Callback<void> done);

  // --- Nodes -----------------------------------------------------------------

  // Registers the node for as long as the coordinator's session lives; again after
  // each `expired`. A record left by a former session is removed at once if its
  // incarnation is record.incarnation() or `predecessor` (what this agent was called
  // before its restart, 0 if unknown); another's is waited for until it goes or the
  // deadline comes: node_taken.
  void register_node(proto::NodeRecord record, std::uint64_t predecessor, Deadline deadline,
                     Callback<NodeEntry> done);
  // Rewrites a node's record (load, addresses). Errors: bad_version, no_node.
  void update_node(NodeEntry entry, Deadline deadline, Callback<NodeEntry> done);
  void unregister_node(NodeEntry entry, Deadline deadline, Callback<void> done);
  void get_node(std::string name, Deadline deadline, Callback<NodeEntry> done,
                Watcher watcher = {});
  // The watcher tells of nodes that come and go, not of changes within a record.
  void list_nodes(Deadline deadline, Callback<std::vector<NodeEntry>> done, Watcher watcher = {});

  // --- DCs -------------------------------------------------------------------

  // Errors: dc_exists.
  void create_dc(DcRequest request, Deadline deadline, Callback<DcEntry> done);
  // Removes a DC none of whose endpoints is SERVING or MOVING. Errors: dc_unknown,
  // dc_in_use. An interrupted removal is completed by calling it again.
  void remove_dc(std::string name, Deadline deadline, Callback<void> done);
  void get_dc(std::string name, Deadline deadline, Callback<DcEntry> done, Watcher watcher = {});
  void list_dcs(Deadline deadline, Callback<std::vector<DcEntry>> done, Watcher watcher = {});

  // --- Endpoints -------------------------------------------------------------

  // Takes `count` fresh slots of a DC. bind does this by itself, in blocks of
  // kSlotBlock. Errors: dc_unknown, limit_exceeded.
  void reserve_slots(std::string dc, std::uint32_t count, Deadline deadline,
                     Callback<SlotRange> done);

  // Binds an endpoint: a slot of this agent's block (or one that it unbound before),
  // generation raised, new lineage, epoch 1, SERVING. A name and its endpoint are
  // written in one multi. The name of a DEAD endpoint is taken over, with its slot;
  // otherwise name_taken. Errors: dc_unknown, name_taken, limit_exceeded. Any number
  // may be in flight.
  void bind(BindRequest request, Deadline deadline, Callback<EndpointEntry> done);

  // UNBOUND, and the name free. Checks that the slot is still at that generation and
  // belongs to that process; else endpoint_stale. Unbinding twice is ok.
  void unbind(std::string dc, std::uint32_t slot, std::uint32_t generation, std::uint64_t process,
              Deadline deadline, Callback<void> done);

  // DEAD; the name stays until a new owner binds it, so that callers learn of the
  // death. Checks the generation and, unless 0, the owner's process; else
  // endpoint_stale. Ok if it is dead or unbound already.
  void mark_dead(std::string dc, std::uint32_t slot, std::uint32_t generation,
                 std::uint64_t process, Deadline deadline, Callback<void> done);

  // Replaces an endpoint's record at the version it was read at, as with a new engine
  // address after a restart of the engine. dc, slot, generation, lineage and name must be
  // as read. With `fence`, only while that very agent is registered. Moves have their own
  // operations: moves.h. Errors: bad_version, no_node (fence gone: failed_op 0).
  struct NodeFence {
    std::string node;
    std::uint64_t incarnation = 0;
  };
  void update_endpoint(std::string dc, EndpointEntry entry, std::optional<NodeFence> fence,
                       Deadline deadline, Callback<EndpointEntry> done);

  // From a name to its endpoint, whatever its state. The watcher is called when
  // either record changes, or, if this answers name_unknown, when the name is bound.
  // Errors: name_unknown, dc_unknown.
  void resolve(std::string dc, std::string name, Deadline deadline, Callback<EndpointEntry> done,
               Watcher watcher = {});
  // By slot. Errors: endpoint_stale (no such slot), dc_unknown.
  void get_endpoint(std::string dc, std::uint32_t slot, Deadline deadline,
                    Callback<EndpointEntry> done, Watcher watcher = {});

  // All endpoints (of any state) or names of a DC: not one moment's view, each record
  // is as it was when it was read.
  void list_endpoints(std::string dc, Deadline deadline, Callback<std::vector<EndpointEntry>> done);
  void list_names(std::string dc, Deadline deadline, Callback<std::vector<NameEntry>> done);

  class Impl;

 private:
  // Answers an argument error on the callback thread, as every other answer.
  template <typename T>
  void refuse(Error error, Callback<T> done);

  std::shared_ptr<Impl> impl_;
};

}  // namespace godwit::coord
