// godwit_moves: a server with state moves about between three nodes while clients call it and send
// to it over shm and tcp. The server checks each operation's number against its state, so a lost,
// repeated or reordered one is seen at once; the clients measure how long it was away. With
// --faults processes and agents are killed and stopped at each step of a move; --scene plays
// special situations.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "fault_campaign.h"
#include "local_cluster/crew.h"
#include "options.h"
#include "scene.h"
#include "tour.h"

namespace moves {

namespace {

/// A broken rule must be found: then that is the success.
int expect_broken(int status) {
  if (status == kExitBroken) return 0;
  std::fprintf(stderr, "godwit_moves: exit status %d where %d was expected\n", status, kExitBroken);
  return status == 0 ? kExitBroken : status;
}

int conduct(const Options& options) {
  godwit::local_cluster::catch_interrupts();
  if (options.list_faults) {
    list_faults();
    return 0;
  }
  if (!options.planted.empty()) return run_planted(options);
  if (!options.faults.empty() || !options.fault_cases.empty()) return run_faults(options);
  if (!options.scene.empty()) return run_scene(options);
  return run_tour(options);
}

int parse_and_run(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Moves a server with state about between three nodes under load, and checks that each\n"
      "operation of each client was executed once and in order.\n"
      "Exit status: 0 every promise held, 1 one was broken, 2 it could not run.",
      "godwit_moves"};
  app.add_option("--moves", options.moves, "how many")->capture_default_str();
  app.add_option("--clients", options.clients, "processes that call and send")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--operations", options.operations, "go on until there were so many")
      ->capture_default_str();
  app.add_option("--state", options.state, "bytes, or with a suffix as 256M")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  app.add_option("--pause", options.pause, "seconds between two moves")->capture_default_str();
  app.add_option("--seed", options.seed, "of the choice of the nodes")->capture_default_str();
  app.add_option("--limit", options.limit, "seconds after which a run is given up")
      ->capture_default_str();
  app.add_option("--transports", options.transports, "of the clients, in turn")
      ->delimiter(',')
      ->capture_default_str();
  app.add_flag("--private-zookeeper", options.private_zookeeper,
               "keep the directory in a ZooKeeper started for this run");
  app.add_flag("--namespaces", options.namespaces,
               "give each node a network namespace of its own, where the machine allows it");
  app.add_flag("--json", options.json, "print the result as JSON");
  app.add_flag("--keep", options.keep, "leave logs in place");
  app.add_option(
         "--faults", options.faults,
         "instead: kill and stop its parts at the steps of moves; 'all' cases, or so many by "
         "the seed beside the decisive ones, without those that need a ZooKeeper")
      ->check(CLI::Number | CLI::IsMember({"all"}));
  app.add_option("--fault-case", options.fault_cases, "instead: these cases, by name");
  app.add_flag("--list-faults", options.list_faults, "print the names of all cases");
  app.add_option("--planted", options.planted, "instead: break this rule, which must be found");
  app.add_option("--scene", options.scene,
                 "instead: hand the server to a newer build; move both ends of a channel at once;\n"
                 "let clients come, go and sleep meanwhile")
      ->check(CLI::IsMember({"upgrade", "both-ends", "crowd"}));
  app.add_flag("--expect-broken", options.expect_broken,
               "exit with 0 if and only if it was 1 otherwise");
  // How this program starts itself as a worker; not for people.
  app.add_option("--worker", options.role)->group("");
  app.add_option("--run", options.runtime_directory)->group("");
  app.add_option("--transport", options.transport)->group("");
  app.add_option("--index", options.index)->group("");
  app.add_flag("--stand-by", options.stand_by)->group("");
  app.add_option("--format", options.format)->group("");
  app.add_option("--to", options.to)->group("");
  app.add_flag("--may-die", options.may_die)->group("");
  app.add_option("--tester", options.tester)->group("");
  app.add_option("--think", options.think)->group("");
  app.add_option("--ledger", options.ledger)->group("");
  CLI11_PARSE(app, argc, argv);
  if (options.role == "bank") return run_bank(options);
  if (options.role == "client") return run_client(options);
  if (options.role == "relay") return run_relay(options);
  const int status = conduct(options);
  return options.expect_broken ? expect_broken(status) : status;
}

}  // namespace

}  // namespace moves

int main(int argc, char** argv) {
  return moves::parse_and_run(argc, argv);
}
