// The prepared statements of LocalStore, and how a path becomes their parameters.
// Private to local_*.cc.
#pragma once

#include "local_store.h"

#include <string_view>

namespace godwit::coord {

struct LocalStore::Statements {
  Statement begin, commit, rollback, begin_read;
  Statement savepoint, release, undo;
  Statement get_meta, set_meta;
  Statement find, insert, set, remove, child_added, child_removed;
  Statement read, children, changed_records, changed_children;
  Statement add_session, find_session, remove_session, sessions, owned_by;
};

// A path as a row's key. Views into the path.
struct NodeKey {
  std::string_view parent;
  std::string_view name;
};
inline NodeKey key_of(std::string_view path) {
  if (path == "/") return {"", ""};
  return {parent_path(path), path.substr(path.rfind('/') + 1)};
}
inline std::string path_of(std::string_view parent, std::string_view name) {
  if (parent.empty()) return "/";
  std::string path(parent);
  if (path.back() != '/') path += '/';
  path += name;
  return path;
}

}  // namespace godwit::coord
