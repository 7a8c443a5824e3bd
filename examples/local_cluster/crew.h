// Crew: worker processes on the nodes of a cluster, and what they have said.
//
// A worker is this same program, started again with `--worker ROLE --run FOLDER` and further flags;
// it says what happens in lines on its standard output (worker_line.h): `progress done=N` now and
// then, `failed` with `what` and `error` when it cannot go on, anything else as the roles agree.
//
// Owner: whoever starts them; the destructor kills those that still run. One thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "child_process.h"
#include "cluster.h"
#include "godwit/error.h"
#include "worker_line.h"

namespace godwit::local_cluster {

/// Where workers of a node are started, and how.
struct Place {
  std::string runtime_directory;  // of the node's agent
  ChildOptions options = {};
  /// Put before a worker's command: what runs it on another machine, with its streams, such as
  /// {"ssh", "alpha"}. It is searched for in $PATH.
  std::vector<std::string> launcher = {};
};

/// ^C or SIGTERM came: every wait below ends with Errc::cancelled.
void catch_interrupts();
bool interrupted();

struct Worker {
  std::string node;
  std::string role;
  ChildProcess process;
  std::vector<WorkerLine> lines;  // all but progress
  std::uint64_t progress = 0;
  bool dismissed = false;  // killed or stopped on purpose

  const WorkerLine* find(const std::string& what) const;
  std::vector<const WorkerLine*> find_all(const std::string& what) const;
};

class Crew {
 public:
  explicit Crew(const Cluster& cluster);
  explicit Crew(std::function<Place(const std::string& node)> place_of)
      : place_of_(std::move(place_of)) {}

  /// Starts a worker of a role on a node with these further flags.
  /// `environment` is added to this process's.
  Result<Worker*> start(const std::string& node, const std::string& role,
                        std::vector<std::string> flags = {}, Environment environment = {});
  /// The same, until it has said `ready`.
  Result<Worker*> start_server(const std::string& node, const std::string& role,
                               std::vector<std::string> flags = {}, Environment environment = {});

  /// Listens to all workers until `until()` holds. `tick` is called a few times a second. Errors:
  /// cancelled, deadline_exceeded, system (a worker failed or ended early; with what it said).
  Result<void> run_until(const std::function<bool()>& until, std::chrono::milliseconds limit,
                         const std::function<void()>& tick = {});

  /// kill -9 (of what was started here: a launcher must end what it runs when it is killed);
  /// returns the time just before it, of the monotonic clock in nanoseconds.
  std::uint64_t kill(Worker& worker);
  /// SIGSTOP and SIGCONT: it stands still in between, and its connections stay open.
  void pause(Worker& worker);
  void resume(Worker& worker);
  /// Asks it to end; an error if it does not end cleanly.
  Result<void> stop(Worker& worker);

  std::uint64_t total_progress(const std::string& role) const;

 private:
  void listen(Worker& worker);
  Result<void> judge(const Worker& worker) const;

  std::function<Place(const std::string& node)> place_of_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace godwit::local_cluster
