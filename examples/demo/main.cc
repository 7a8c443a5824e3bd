// godwit-demo: starts three nodes on this machine, runs real traffic between endpoints found by
// name, breaks things, and says which promises held.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "live_line.h"
#include "local_cluster/cluster.h"
#include "local_cluster/crew.h"
#include "phases.h"
#include "report.h"
#include "workers.h"

namespace demo {

namespace {

constexpr int kExitBroken = 1;
constexpr int kExitFailed = 2;
constexpr int kExitInterrupted = 130;

struct Options {
  std::string zookeeper;
  bool private_zookeeper = false;
  double seconds = 10;
  std::uint32_t moves = 10;
  std::uint32_t large_state = 256;
  bool json = false;
  bool keep = false;
  WorkerOptions worker;
};

Result<void> run(const Options& options, LiveLine& live, Report& report) {
  live.begin("starting three nodes");
  godwit::local_cluster::ClusterOptions cluster_options;
  cluster_options.dc = kDc;
  cluster_options.zookeeper = options.zookeeper;
  cluster_options.private_zookeeper = options.private_zookeeper;
  auto cluster = godwit::local_cluster::Cluster::start(std::move(cluster_options));
  if (!cluster) return tl::make_unexpected(cluster.error());
  if (options.keep) {
    cluster->keep_folder();
    report.notes.push_back("logs and runtime directories stay in " + cluster->folder());
  }
  std::string names;
  for (const std::string& node : cluster->nodes()) names += (names.empty() ? "" : ", ") + node;
  live.end(names + "; directory: " + cluster->directory());

  Stage stage{*cluster,      live,
              report,        std::chrono::milliseconds(static_cast<int>(options.seconds * 1000)),
              options.moves, options.large_state};
  for (const auto phase : {show_traffic, show_copies, show_moves, show_death, show_cuts}) {
    if (interrupted()) return godwit::fail(godwit::Errc::cancelled, "interrupted");
    auto shown = phase(stage);
    if (shown) continue;
    if (shown.error().code != godwit::Errc::cancelled) {
      shown.error().message += "\n" + cluster->log_tail();
    }
    return shown;
  }
  live.begin("stopping");
  const auto unclean = cluster->stop();
  std::string why;
  for (const std::string& each : unclean) why += (why.empty() ? "" : "; ") + each;
  live.end(unclean.empty() ? "all agents ended" : why);
  report.promise("agents end cleanly when asked to", unclean.empty(),
                 unclean.empty() ? "three of three" : why);
  return {};
}

int conduct(const Options& options) {
  godwit::local_cluster::catch_interrupts();
  Report report;
  Result<void> done;
  {
    LiveLine live(options.json ? stderr : stdout);
    done = run(options, live, report);
  }
  if (!done && interrupted()) {
    std::fprintf(stderr, "interrupted; everything that was started has been ended\n");
    return kExitInterrupted;
  }
  if (!done) report.promise("every phase could be carried out", false, done.error().to_string());
  std::fputs((options.json ? report.to_json() : report.to_text()).c_str(), stdout);
  if (!done) return kExitFailed;
  return report.all_kept() ? 0 : kExitBroken;
}

int parse_and_run(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Starts three nodes on this machine, runs traffic between endpoints found by name over each\n"
      "transport, copies memory by grants, moves a server between the nodes while clients call "
      "it,\n"
      "kills a server, cuts connections under load, and prints what it measured and which "
      "promises\n"
      "held. Everything it starts ends with it.\n"
      "Exit status: 0 all promises held, 1 one was broken, 2 it could not run, 130 interrupted.",
      "godwit-demo"};
  auto* zookeeper =
      app.add_option("--zookeeper", options.zookeeper,
                     "keep the directory in this ZooKeeper, in a folder /godwit-XXXXXX of\n"
                     "its own that stays there, instead of locally")
          ->type_name("HOST:PORT");
  app.add_flag("--private-zookeeper", options.private_zookeeper,
               "start a ZooKeeper for this run and keep the directory there")
      ->excludes(zookeeper);
  app.add_option("--seconds", options.seconds, "how long the traffic runs, all transports together")
      ->check(CLI::Range(0.5, 3600.0))
      ->capture_default_str();
  app.add_option("--moves", options.moves,
                 "how often each of the two servers that move does so; 0 leaves that phase out")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--large-state", options.large_state,
                 "state of the second of them, in MiB; three processes have room for it")
      ->check(CLI::Range(1, 2048))
      ->capture_default_str();
  app.add_flag("--json", options.json, "print the report as JSON; progress goes to standard error");
  app.add_flag("--keep", options.keep, "leave logs and runtime directories in place");
  // How this program starts itself as a worker; not for people.
  WorkerOptions& worker = options.worker;
  app.add_option("--worker", worker.role)->group("");
  app.add_option("--run", worker.runtime_directory)->group("");
  app.add_option("--transport", worker.transport)->group("");
  app.add_option("--milliseconds", worker.milliseconds)->group("");
  app.add_option("--window", worker.window)->group("");
  app.add_option("--mebibytes", worker.mebibytes)->group("");
  app.add_option("--index", worker.index)->group("");
  app.add_flag("--stand-by", worker.stand_by)->group("");
  app.add_option("--path", worker.path)->group("");
  CLI11_PARSE(app, argc, argv);
  return worker.role.empty() ? conduct(options) : run_worker(worker);
}

}  // namespace

}  // namespace demo

int main(int argc, char** argv) {
  return demo::parse_and_run(argc, argv);
}
