#include "conductor.h"

#include <cstdio>
#include <utility>

namespace moves {

using godwit::local_cluster::Network;

Result<Cluster> start_cluster(const Options& options) {
  godwit::local_cluster::ClusterOptions cluster_options;
  cluster_options.dc = kDc;
  cluster_options.private_zookeeper = options.private_zookeeper;
  if (options.namespaces) {
    if (auto able = Network::supported(); able) {
      cluster_options.network = Network::namespaces;
    } else {
      std::fprintf(stderr, "godwit_moves: the nodes share one network: %s\n",
                   able.error().message.c_str());
    }
  }
  return Cluster::start(std::move(cluster_options));
}

Conductor::Conductor(const Options& options, Cluster& cluster)
    : options_(options), cluster_(cluster), crew_(cluster), command_line_(cluster, crew_) {}

Result<Worker*> Conductor::start_bank(const std::string& node, bool stand_by,
                                      std::vector<std::string> flags, Environment environment) {
  flags.insert(flags.end(), {"--state", std::to_string(options_.state)});
  if (stand_by) flags.push_back("--stand-by");
  return crew_.start_server(node, "bank", std::move(flags), std::move(environment));
}

Result<Worker*> Conductor::start_client(const std::string& node, std::vector<std::string> flags) {
  const std::string& transport = options_.transports[clients_ % options_.transports.size()];
  flags.insert(flags.end(), {"--index", std::to_string(clients_), "--transport", transport});
  ++clients_;
  return crew_.start_server(node, "client", std::move(flags));
}

}  // namespace moves
