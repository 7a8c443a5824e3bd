// RunDirectory: the folder where an agent and the processes of its node meet: the socket, the
// engines' sockets, the counters. One agent at a time holds it.
//
// Owner: the Agent, for its whole life. Loop's thread.
#pragma once

#include <cstdint>
#include <string>

#include "godwit/error.h"

namespace godwit::node {

class RunDirectory {
 public:
  /// Makes the folder (mode 0700) and takes its lock. Errors: invalid_argument (others can reach
  /// into it, not a folder, path too long), permission_denied, name_taken (another agent runs
  /// there).
  static Result<RunDirectory> open(const std::string& path);
  RunDirectory(RunDirectory&& other) noexcept;
  RunDirectory& operator=(RunDirectory&&) = delete;
  ~RunDirectory();

  const std::string& path() const noexcept { return path_; }
  /// Members of the folder's group may reach into it, so they may use the socket too.
  bool shared_with_group() const noexcept { return shared_with_group_; }

  /// The incarnation of the agent that was here before; 0 if none is known.
  std::uint64_t former_incarnation() const;
  Result<void> set_incarnation(std::uint64_t incarnation);

  /// Removes the files that a process left behind (see process_file_stem()).
  void remove_files_of(std::uint64_t process) const;

 private:
  RunDirectory(std::string path, int lock_fd, bool shared_with_group)
      : path_(std::move(path)), lock_fd_(lock_fd), shared_with_group_(shared_with_group) {}

  std::string path_;
  int lock_fd_;
  bool shared_with_group_;
};

/// Makes a folder and its ancestors, the last with mode 0700.
Result<void> make_private_directory(const std::string& path);

}  // namespace godwit::node
