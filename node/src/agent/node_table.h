// NodeTable: which nodes have a live agent, as the directory says, kept true by a watch.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/on_loop.h"
#include "godwit/coord/directory.h"

namespace godwit::node {

class NodeTable {
 public:
  struct Node {
    coord::proto::NodeRecord record;
    bool present = true;
    Clock::time_point vanished{};  // if not present
  };

  NodeTable(EventLoop& loop, coord::Directory& directory) : loop_(loop), directory_(directory) {}
  ~NodeTable() { loop_.cancel(retry_); }

  /// Looks again; also after each `connected`. Then the watch does it.
  void refresh();
  /// Remembers the nodes of a listing that was read for something else. Whether they are present
  /// is for the watch to say.
  void note(const std::vector<coord::NodeEntry>& entries);

  /// False until the first list came: nothing can be said of absent nodes before.
  bool loaded() const noexcept { return loaded_; }
  /// Since when an unknown node counts as absent.
  Clock::time_point loaded_at() const noexcept { return loaded_at_; }
  /// nullptr: never seen.
  const Node* find(const std::string& name) const;
  const std::map<std::string, Node>& all() const noexcept { return nodes_; }

  /// Called after each change.
  void on_change(std::function<void()> changed) { changed_ = std::move(changed); }

 private:
  void take(std::vector<coord::NodeEntry> entries);

  EventLoop& loop_;
  coord::Directory& directory_;
  std::function<void()> changed_;
  std::map<std::string, Node> nodes_;
  bool loaded_ = false;
  bool reading_ = false;
  bool again_ = false;
  Clock::time_point loaded_at_{};
  EventLoop::TimerId retry_ = 0;
  Lifetime lifetime_;
};

}  // namespace godwit::node
