// DcTable: the DCs that this node was asked for, with their keys, kept true by watches.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/dc_keys.h"
#include "agent/on_loop.h"
#include "godwit/coord/directory.h"

namespace godwit::node {

struct Dc {
  std::uint32_t id = 0;
  std::string name;
  coord::proto::DcRecord record;
  std::optional<fabric::DcKey> key;
  std::optional<Error> unusable;  // why this node's processes may not use it
};

class DcTable {
 public:
  using Found = std::function<void(Result<std::shared_ptr<const Dc>>)>;

  DcTable(EventLoop& loop, coord::Directory& directory, const DcKeys& keys, std::string node)
      : loop_(loop), directory_(directory), keys_(keys), node_(std::move(node)) {}

  /// By name, whether usable or not. Errors: not_found, agent_unavailable.
  void find(const std::string& name, coord::Deadline deadline, Found done);
  /// By name, for a process: also an error if this node is not a member or lacks the key.
  void find_usable(const std::string& name, coord::Deadline deadline, Found done);
  void find_id(std::uint32_t id, coord::Deadline deadline, Found done);

  /// The name of a DC whose record was seen.
  const std::string* name_of(std::uint32_t id) const;
  /// The other way round; 0: not known.
  std::uint32_t id_of(const std::string& name) const;
  /// Its key or record changed here: read again at the next find().
  void forget(const std::string& name) { dcs_.erase(name); }

 private:
  std::shared_ptr<const Dc> take(const coord::proto::DcRecord& record);

  EventLoop& loop_;
  coord::Directory& directory_;
  const DcKeys& keys_;
  const std::string node_;
  std::map<std::string, std::shared_ptr<const Dc>> dcs_;
  std::map<std::string, std::vector<Found>> reading_;
  std::unordered_map<std::uint32_t, std::string> names_;
  Lifetime lifetime_;
};

}  // namespace godwit::node
