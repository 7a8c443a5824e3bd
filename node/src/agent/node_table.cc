#include "agent/node_table.h"

#include <algorithm>
#include <set>
#include <utility>

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
constexpr auto kReadLimit = 10s;
constexpr auto kRetry = 500ms;
// Nodes that went are remembered for `godwit node ls` and for judgements, but not for ever.
constexpr std::size_t kMaxVanished = 1000;
}  // namespace

void NodeTable::refresh() {
  if (reading_) {
    again_ = true;
    return;
  }
  reading_ = true;
  loop_.cancel(retry_);
  directory_.list_nodes(coord::after(kReadLimit),
                        on_loop<std::vector<coord::NodeEntry>>(
                            loop_, lifetime_,
                            [this](coord::Result<std::vector<coord::NodeEntry>> entries) {
                              reading_ = false;
                              if (entries) {
                                take(std::move(*entries));
                              } else if (retry_ == 0) {
                                retry_ = loop_.after(kRetry, [this] {
                                  retry_ = 0;
                                  refresh();
                                });
                              }
                              if (std::exchange(again_, false)) refresh();
                            }),
                        watcher_on_loop(loop_, lifetime_, [this] { refresh(); }));
}

void NodeTable::take(std::vector<coord::NodeEntry> entries) {
  const auto now = Clock::now();
  if (!loaded_) loaded_at_ = now;
  loaded_ = true;
  std::set<std::string> present;
  for (auto& entry : entries) {
    const std::string name = entry.record.name();
    present.insert(name);
    nodes_[name] = Node{std::move(entry.record), true, {}};
  }
  for (auto& [name, node] : nodes_) {
    if (!node.present || present.contains(name)) continue;
    node.present = false;
    node.vanished = now;
  }
  if (nodes_.size() > present.size() + kMaxVanished) {
    const auto oldest = std::min_element(nodes_.begin(), nodes_.end(), [](auto& a, auto& b) {
      const auto key = [](const Node& node) { return std::pair(node.present, node.vanished); };
      return key(a.second) < key(b.second);
    });
    nodes_.erase(oldest);
  }
  if (changed_) changed_();
}

// Not as present: the listing may be older than the table, and nothing would correct that. Who
// finds a node absent reads it afresh before it acts on that.
void NodeTable::note(const std::vector<coord::NodeEntry>& entries) {
  const auto now = Clock::now();
  for (const auto& entry : entries) {
    nodes_.try_emplace(entry.record.name(), Node{entry.record, false, now});
  }
}

const NodeTable::Node* NodeTable::find(const std::string& name) const {
  const auto found = nodes_.find(name);
  return found == nodes_.end() ? nullptr : &found->second;
}

}  // namespace godwit::node
