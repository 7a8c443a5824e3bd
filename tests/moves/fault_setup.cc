// FaultStage: how it is set up for each ground.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <utility>

#include "fault_stage.h"

namespace moves {

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::TemporaryDirectory;

std::string ms(std::chrono::milliseconds time) {
  return std::to_string(time.count()) + "ms";
}

std::string write_configuration(const TemporaryDirectory& folder, Ground ground,
                                const StageLimits& limits, const Options& options) {
  const std::string path = folder.file("agents.toml");
  std::ofstream file(path);
  file << "[moves]\nprepare_limit = \"" << ms(limits.prepare) << "\"\nblackout_limit = \""
       << ms(limits.blackout) << "\"\n";
  if (ground == Ground::started) {
    file << "[programs." << kProgram << "]\ncommand = [\"" << godwit::local_cluster::this_program()
         << "\", \"--worker\", \"bank\", \"--tester\", \"" << ::getpid() << "\""
         << ", \"--state\", \"" << options.state << "\", \"--ledger\", \"" << folder.file("ledgers")
         << "\"]\n";
  }
  return path;
}

}  // namespace

StageLimits StageLimits::of(Ground ground) {
  StageLimits limits;
  if (ground == Ground::zookeeper || ground == Ground::ensemble) {
    // Of a server that counts in half seconds, and of an election.
    limits.session = ground == Ground::ensemble ? 3s : 1500ms;
    limits.prepare = 3 * kPrepare;
    limits.blackout = 5s;
  }
  return limits;
}

// An agent that is back registers (its former self's session must be over), processes have their
// time to attach to it, and it gives the move all the time of a new one: to be prepared, to be
// copied, to be committed.
std::chrono::milliseconds StageLimits::until_end() const {
  return session + node_grace + reattach + 2 * prepare + blackout + kSlack;
}

// The owner is told at once, or has died and that is written when it is noticed: at once by its
// agent, after the grace by an agent that was started again.
std::chrono::milliseconds StageLimits::until_served() const {
  return session + node_grace + reattach + kSlack;
}

Result<void> FaultStage::supported(Ground ground) {
  if (ground == Ground::network || ground == Ground::ensemble) {
    if (auto network = godwit::local_cluster::Network::supported(); !network) return network;
  }
  if (ground == Ground::zookeeper || ground == Ground::ensemble) {
    auto folder = TemporaryDirectory::make("godwit-faults");
    if (!folder) return tl::make_unexpected(folder.error());
    godwit::local_cluster::PrivateZooKeeperOptions options;
    options.folder = folder->file("zookeeper");
    auto made = godwit::local_cluster::PrivateZooKeeper::make(std::move(options));
    if (!made) return tl::make_unexpected(made.error());
  }
  return {};
}

Result<std::unique_ptr<FaultStage>> FaultStage::start(const Options& options, Setup setup) {
  auto folder = TemporaryDirectory::make("godwit-faults");
  if (!folder) return tl::make_unexpected(folder.error());
  if (options.keep) folder->keep();
  godwit::local_cluster::ClusterOptions cluster_options;
  for (const char* name : {"ledgers", "agent.north", "agent.east", "agent.south"}) {
    std::filesystem::create_directory(folder->file(name));
  }
  cluster_options.dc = kDc;
  const StageLimits limits = StageLimits::of(setup.ground);
  const bool ensemble = setup.ground == Ground::ensemble;
  cluster_options.private_zookeeper = ensemble || setup.ground == Ground::zookeeper;
  cluster_options.zookeeper_servers = ensemble ? 3 : 1;
  if (ensemble || setup.ground == Ground::network) {
    cluster_options.network = godwit::local_cluster::Network::namespaces;
  }
  cluster_options.agent_flags = {
      "--config",          write_configuration(*folder, setup.ground, limits, options),
      "--session-timeout", ms(limits.session),
      "--node-grace",      ms(limits.node_grace),
      "--reattach-grace",  ms(limits.reattach)};
  cluster_options.agent_environment = [path = folder->path(),
                                       planted = setup.planted](const std::string& node) {
    return Environment{{"GODWIT_FAULT_FOLDER", path + "/agent." + node},
                       {"GODWIT_PLANTED_FAULT", planted}};
  };
  auto cluster = Cluster::start(std::move(cluster_options));
  if (!cluster) return tl::make_unexpected(cluster.error());
  if (options.keep) {
    cluster->keep_folder();
    std::fprintf(stderr, "logs stay in %s and %s\n", cluster->folder().c_str(),
                 folder->path().c_str());
  }
  std::unique_ptr<FaultStage> stage(
      new FaultStage(options, std::move(setup), std::move(*cluster), std::move(*folder)));
  const auto& nodes = stage->cluster_.nodes();
  if (auto added = stage->add_bank(nodes.front(), false); !added) {
    return tl::make_unexpected(added.error());
  }
  for (unsigned i = 0; i < options.clients; ++i) {
    if (auto added = stage->add_client(nodes[i % nodes.size()]); !added) {
      return tl::make_unexpected(added.error());
    }
  }
  return stage;
}

}  // namespace moves
