// Scenes: moves in situations of their own, with real agents and processes: the server is handed to
// a newer build of itself, both ends of a channel move at once, clients come, go and sleep on the
// way. Each ends with the same judgement: every operation was executed once and in order.
#pragma once

#include <string>
#include <vector>

#include "conductor.h"

namespace moves {

/// What the scenes are made of. One thread.
class Scene {
 public:
  Scene(const Options& options, Cluster& cluster);

  /// A server of a role on each node, served on the first and standing by on the others.
  Result<std::vector<Worker*>> start_servers(const std::string& role, const std::string& program);
  Result<Worker*> start_server(std::size_t node, const std::string& role, bool stand_by,
                               std::vector<std::string> flags = {});
  /// Clients that stay to the end.
  Result<void> start_clients(unsigned count, const std::vector<std::string>& flags = {});
  /// One that the scene does with as it likes; it is not asked for its result.
  Result<Worker*> start_guest(std::size_t node);

  /// Waits for the end; an error if it was not committed.
  Result<void> move(const std::string& name, std::size_t node);
  /// The same, but it must be given up, for a reason that contains `why`.
  Result<void> move_in_vain(const std::string& name, std::size_t node, const std::string& why);
  /// Until every client that stays has done `operations` more.
  Result<void> let_work(std::uint64_t operations);

  Result<void> finish();
  /// 0 or kExitBroken; prints what was found.
  int judge(const char* name) const;

  Conductor& conductor() noexcept { return conductor_; }
  Crew& crew() noexcept { return conductor_.crew(); }
  const std::string& node(std::size_t index) const { return cluster_.nodes()[index]; }
  std::size_t nodes() const { return cluster_.nodes().size(); }
  void count_moves(unsigned count) noexcept { moved_ += count; }

 private:
  Cluster& cluster_;
  Conductor conductor_;
  std::vector<Worker*> servers_, clients_, guests_;
  unsigned moved_ = 0;
};

/// Options::scene; 0, kExitBroken or kExitFailed.
int run_scene(const Options& options);

Result<void> play_upgrade(Scene& scene, const Options& options);
Result<void> play_both_ends(Scene& scene, const Options& options);
Result<void> play_crowd(Scene& scene, const Options& options);

}  // namespace moves
