// Nodes: where the workers of an audit run. Either agents of its own on this machine, or nodes that
// are there already and are reached by a command each (--node).
//
// Owner: the conductor's main function. One thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "local_cluster/cluster.h"
#include "local_cluster/crew.h"
#include "local_cluster/temporary_directory.h"
#include "options.h"

namespace audit {

class Nodes {
 public:
  /// Errors: those of Cluster::start.
  static godwit::Result<Nodes> start(const Options& options);

  const std::vector<std::string>& names() const noexcept { return names_; }
  godwit::local_cluster::Place place(const std::string& node) const;

  /// A path for a worker on a node to write to.
  std::string file(const std::string& name) const;
  /// Brings a file that was written on a node here, and removes it there; the path here. Errors:
  /// not_found (there is none), system.
  godwit::Result<std::string> fetch(const std::string& node, const std::string& name) const;

  std::string log_tail() const;
  /// The folder stays.
  void keep();

 private:
  explicit Nodes(godwit::local_cluster::TemporaryDirectory folder) : folder_(std::move(folder)) {}
  godwit::Result<int> run_there(const std::string& node, std::vector<std::string> command,
                                const std::string& output_file) const;

  godwit::local_cluster::TemporaryDirectory folder_;
  std::vector<std::string> names_;  // of other nodes: the commands that reach them
  std::string runtime_directory_;   // of other nodes
  std::string there_;               // what begins the names of files on other nodes
  std::optional<godwit::local_cluster::Cluster> cluster_;
};

}  // namespace audit
