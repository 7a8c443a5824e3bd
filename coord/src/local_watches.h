// LocalWatches: the pending watchers of one LocalCoordinator, and which of them a
// change set concerns. No I/O.
//
// Owner and only user: LocalCoordinator, on its callback thread.
#pragma once

#include "local_store.h"

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::coord {

class LocalWatches {
 public:
  enum class Kind { record, children };

  // `seen`: the last change that the read which set the watcher included. `existed`:
  // whether it found the path.
  void add(Kind kind, const std::string& path, std::int64_t seen, bool existed, Watcher watcher);
  bool empty() const { return watches_.empty(); }

  // Takes out the watchers that the changes concern. Changes name the records that
  // were created or set, and the paths whose children were removed, but not a record
  // that is gone; so `exists` is asked for each watched path below such a path.
  std::vector<Watcher> take_fired(const ChangeSet& changes,
                                  const std::function<bool(const std::string&)>& exists);
  std::vector<Watcher> take_all();

 private:
  struct Watch {
    Kind kind;
    std::int64_t seen;
    bool existed;
    Watcher watcher;
  };
  template <typename Concerns>
  void take_if(const std::string& path, std::vector<Watcher>& fired, Concerns concerns);

  // Ordered, so that everything below a path is a range.
  std::map<std::string, std::vector<Watch>> watches_;
};

}  // namespace godwit::coord
