// Standbys: the attached processes that can take a group that moves here, by program.
//
// A process stands by for one move at most: it is taken from the table when it is chosen, and says
// so again when it can take another.
//
// Owner: the Mover. Loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace godwit::node {

class Standbys {
 public:
  /// `move`: it was started for that move and is no use for another; 0: for any.
  void add(std::uint64_t process, const std::string& program, std::uint64_t move);
  void remove(std::uint64_t process) { standbys_.erase(process); }

  /// Takes one that `usable` accepts: first one that was started for the move.
  std::optional<std::uint64_t> take(const std::string& program, std::uint64_t move,
                                    const std::function<bool(std::uint64_t process)>& usable);
  /// Takes those that were started for the move.
  std::set<std::uint64_t> take_started_for(std::uint64_t move);
  /// The moves that some were started for.
  std::set<std::uint64_t> moves() const;

  /// Programs that have one for any move.
  std::set<std::string> programs() const;

 private:
  struct Standby {
    std::string program;
    std::uint64_t move = 0;
  };
  std::map<std::uint64_t, Standby> standbys_;  // by process
};

}  // namespace godwit::node
