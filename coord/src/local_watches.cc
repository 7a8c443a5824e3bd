#include "local_watches.h"

#include <utility>

namespace godwit::coord {

void LocalWatches::add(Kind kind, const std::string& path, std::int64_t seen, bool existed,
                       Watcher watcher) {
  watches_[path].push_back({kind, seen, existed, std::move(watcher)});
}

template <typename Concerns>
void LocalWatches::take_if(const std::string& path, std::vector<Watcher>& fired,
                           Concerns concerns) {
  const auto found = watches_.find(path);
  if (found == watches_.end()) return;
  std::vector<Watch> kept;
  for (Watch& watch : found->second) {
    if (concerns(watch)) {
      fired.push_back(std::move(watch.watcher));
    } else {
      kept.push_back(std::move(watch));
    }
  }
  if (kept.empty()) {
    watches_.erase(found);
  } else {
    found->second = std::move(kept);
  }
}

std::vector<Watcher> LocalWatches::take_fired(
    const ChangeSet& changes, const std::function<bool(const std::string&)>& exists) {
  std::vector<Watcher> fired;
  for (const ChangeSet::Path& record : changes.records)
    take_if(record.path, fired, [&](const Watch& watch) {
      // A watcher of children that found no path waits for the path itself.
      return watch.seen < record.change && (watch.kind == Kind::record || !watch.existed);
    });
  for (const ChangeSet::Path& parent : changes.children) {
    take_if(parent.path, fired, [&](const Watch& watch) {
      return watch.seen < parent.change && watch.kind == Kind::children;
    });
    if (parent.child_removed == 0) continue;
    // Not the direct children alone: when a whole branch goes, only the path above it
    // is left to tell.
    const std::string below = parent.path == "/" ? "/" : parent.path + "/";
    std::vector<std::string> gone;
    for (auto at = watches_.lower_bound(below);
         at != watches_.end() && at->first.compare(0, below.size(), below) == 0; ++at) {
      bool concerned = false;
      for (const Watch& watch : at->second)
        concerned |= watch.existed && watch.seen < parent.child_removed;
      if (concerned && !exists(at->first)) gone.push_back(at->first);
    }
    for (const std::string& path : gone)
      take_if(path, fired, [&](const Watch& watch) {
        return watch.existed && watch.seen < parent.child_removed;
      });
  }
  return fired;
}

std::vector<Watcher> LocalWatches::take_all() {
  std::vector<Watcher> all;
  for (auto& [path, watches] : std::exchange(watches_, {}))
    for (Watch& watch : watches) all.push_back(std::move(watch.watcher));
  return all;
}

}  // namespace godwit::coord
