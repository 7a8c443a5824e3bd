// godwit_moves: a server with state moves about between three nodes while clients call it and send
// to it over shm and tcp. The server checks each operation's number against its state, so a lost,
// repeated or reordered one is seen at once; the clients measure how long it was away.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "local_cluster/cluster.h"
#include "local_cluster/crew.h"
#include "options.h"

namespace moves {

namespace {

using namespace std::chrono_literals;
using godwit::Result;
using godwit::local_cluster::ChildOptions;
using godwit::local_cluster::ChildProcess;
using godwit::local_cluster::Cluster;
using godwit::local_cluster::Crew;
using godwit::local_cluster::Worker;
using Clock = std::chrono::steady_clock;

constexpr int kExitBroken = 1;
constexpr int kExitFailed = 2;
constexpr auto kReadyLimit = 30s;
constexpr auto kMoveLimit = 60s;

struct Blackouts {
  std::vector<double> ms;
  double quantile(double share) const {
    if (ms.empty()) return 0;
    return ms[static_cast<std::size_t>(share * static_cast<double>(ms.size() - 1))];
  }
};

class Conductor {
 public:
  Conductor(const Options& options, Cluster& cluster)
      : options_(options), cluster_(cluster), crew_(cluster), random_(options.seed) {}

  Result<void> run();
  int judge();

 private:
  Result<void> start();
  Result<std::string> godwit(std::vector<std::string> arguments);
  Result<void> wait_for_standbys();
  Result<void> move_to(const std::string& node);
  Result<void> finish();
  std::uint64_t done() const { return crew_.total_progress("client"); }

  const Options& options_;
  Cluster& cluster_;
  Crew crew_;
  std::mt19937_64 random_;
  std::vector<Worker*> banks_, clients_;
  std::size_t place_ = 0;  // of the bank, by node
  unsigned moved_ = 0;
  double seconds_ = 0;
};

Result<void> Conductor::start() {
  const auto& nodes = cluster_.nodes();
  const std::string state = std::to_string(options_.state);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    std::vector<std::string> flags = {"--state", state};
    if (i != 0) flags.push_back("--stand-by");
    auto bank = crew_.start_server(nodes[i], "bank", std::move(flags));
    if (!bank) return tl::make_unexpected(bank.error());
    banks_.push_back(*bank);
  }
  for (unsigned i = 0; i < options_.clients; ++i) {
    const std::string& transport = options_.transports[i % options_.transports.size()];
    auto client = crew_.start_server(nodes[i % nodes.size()], "client",
                                     {"--index", std::to_string(i), "--transport", transport});
    if (!client) return tl::make_unexpected(client.error());
    clients_.push_back(*client);
  }
  return {};
}

/// The command line, as a user would; what it prints.
Result<std::string> Conductor::godwit(std::vector<std::string> arguments) {
  ChildOptions options;
  options.environment = {{"GODWIT_RUN", cluster_.runtime_directory(cluster_.nodes().front())}};
  arguments.insert(arguments.begin(), godwit::local_cluster::program_folder() + "/godwit");
  auto command = ChildProcess::start(arguments, options);
  if (!command) return tl::make_unexpected(command.error());
  std::string output;
  const auto ended = crew_.run_until(
      [&] {
        while (auto line = command->next_line()) output += *line + "\n";
        return command->ended().has_value();
      },
      kMoveLimit);
  if (!ended) return tl::make_unexpected(ended.error());
  if (command->ended()->ok()) return output;
  return godwit::fail(godwit::Errc::system, "godwit " + arguments[1] + ": " +
                                                command->ended()->to_string() + "\n" + output);
}

/// Until every agent has told the others that a process stands by at its node.
Result<void> Conductor::wait_for_standbys() {
  const auto limit = Clock::now() + kReadyLimit;
  const std::string capability = std::string("program:") + kProgram;
  while (Clock::now() < limit) {
    auto listed = godwit({"node", "ls", "--json"});
    if (!listed) return tl::make_unexpected(listed.error());
    std::size_t count = 0;
    for (std::size_t at = listed->find(capability); at != std::string::npos;
         at = listed->find(capability, at + 1)) {
      ++count;
    }
    if (count + 1 >= cluster_.nodes().size()) return {};
  }
  return godwit::fail(godwit::Errc::deadline_exceeded, "no standby is announced");
}

Result<void> Conductor::move_to(const std::string& node) {
  auto moved = godwit({"migrate", kBank, node, "--json"});
  if (!moved) return tl::make_unexpected(moved.error());
  return {};
}

Result<void> Conductor::finish() {
  const auto all = [](const std::vector<Worker*>& workers) {
    return std::all_of(workers.begin(), workers.end(),
                       [](Worker* each) { return each->find("result") != nullptr; });
  };
  for (Worker* each : clients_) each->process.write_line("finish");
  if (auto said = crew_.run_until([&] { return all(clients_); }, kReadyLimit); !said) return said;
  for (Worker* each : banks_) each->process.write_line("finish");
  return crew_.run_until([&] { return all(banks_); }, kReadyLimit);
}

Result<void> Conductor::run() {
  if (auto started = start(); !started) return started;
  if (auto announced = wait_for_standbys(); !announced) return announced;
  const auto begin = Clock::now();
  auto next_line = begin;
  const auto& nodes = cluster_.nodes();
  while (moved_ < options_.moves || done() < options_.operations) {
    if (moved_ < options_.moves) {
      place_ = (place_ + 1 + random_() % (nodes.size() - 1)) % nodes.size();
      if (auto moved = move_to(nodes[place_]); !moved) return moved;
      ++moved_;
    }
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(options_.pause));
    auto waited = crew_.run_until([&] { return Clock::now() >= until; }, kReadyLimit);
    if (!waited) return waited;
    if (Clock::now() - begin > std::chrono::seconds(options_.limit)) {
      return godwit::fail(godwit::Errc::deadline_exceeded, "the run takes too long");
    }
    if (Clock::now() >= next_line && !options_.json) {
      next_line = Clock::now() + 5s;
      std::printf("  %4.0f s  %u moves, %llu operations\n",
                  std::chrono::duration<double>(Clock::now() - begin).count(), moved_,
                  static_cast<unsigned long long>(done()));
      std::fflush(stdout);
    }
  }
  seconds_ = std::chrono::duration<double>(Clock::now() - begin).count();
  return finish();
}

int Conductor::judge() {
  std::uint64_t issued = 0, executed = 0, calls = 0, broken = 0;
  Blackouts blackouts;
  double slowest = 0;
  for (const Worker* each : clients_) {
    const auto& result = *each->find("result");
    issued += result.number("operations");
    calls += result.number("calls");
    slowest = std::max(slowest, static_cast<double>(result.number("slowest")) / 1e6);
    std::istringstream list(result.text("blackouts"));
    for (std::string one; std::getline(list, one, ',');)
      blackouts.ms.push_back(std::stod(one) / 1e6);
    broken += each->find_all("broken").size();
  }
  for (const Worker* each : banks_) {
    executed += each->find("result")->number("executed");
    for (const auto* line : each->find_all("broken")) {
      ++broken;
      if (broken < 10 && !options_.json) std::printf("BROKEN %s\n", line->to_string().c_str());
    }
  }
  std::sort(blackouts.ms.begin(), blackouts.ms.end());
  const bool sound = broken == 0 && executed == issued;
  if (options_.json) {
    const nlohmann::json report = {{"moves", moved_},
                                   {"state_bytes", options_.state},
                                   {"clients", options_.clients},
                                   {"operations", issued},
                                   {"executed", executed},
                                   {"calls", calls},
                                   {"seconds", seconds_},
                                   {"broken", broken},
                                   {"blackouts_seen", blackouts.ms.size()},
                                   {"blackout_p50_ms", blackouts.quantile(0.5)},
                                   {"blackout_p99_ms", blackouts.quantile(0.99)},
                                   {"blackout_worst_ms", blackouts.quantile(1)},
                                   {"slowest_call_elsewhere_ms", slowest},
                                   {"sound", sound}};
    std::printf("%s\n", report.dump(2).c_str());
  } else {
    std::printf("%u moves with %llu bytes of state in %.1f s; directory: %s\n", moved_,
                static_cast<unsigned long long>(options_.state), seconds_,
                cluster_.directory().c_str());
    std::printf("%llu operations of %u clients, %llu of them calls; %llu executed\n",
                static_cast<unsigned long long>(issued), options_.clients,
                static_cast<unsigned long long>(calls), static_cast<unsigned long long>(executed));
    std::printf("blackout as clients saw it, %zu times: p50 %.2f ms, p99 %.2f ms, worst %.2f ms\n",
                blackouts.ms.size(), blackouts.quantile(0.5), blackouts.quantile(0.99),
                blackouts.quantile(1));
    std::printf("the slowest call while it stayed: %.2f ms\n", slowest);
    if (executed != issued) std::printf("BROKEN executed is not issued\n");
    std::printf("%s\n",
                sound ? "nothing lost, nothing doubled, order kept" : "promises are broken");
  }
  return sound ? 0 : kExitBroken;
}

int conduct(const Options& options) {
  godwit::local_cluster::catch_interrupts();
  godwit::local_cluster::ClusterOptions cluster_options;
  cluster_options.dc = kDc;
  cluster_options.private_zookeeper = options.private_zookeeper;
  auto cluster = Cluster::start(cluster_options);
  if (!cluster) {
    std::fprintf(stderr, "godwit_moves: %s\n", cluster.error().to_string().c_str());
    return kExitFailed;
  }
  if (options.keep) {
    cluster->keep_folder();
    std::fprintf(stderr, "logs stay in %s\n", cluster->folder().c_str());
  }
  Conductor conductor(options, *cluster);
  if (auto ran = conductor.run(); !ran) {
    std::fprintf(stderr, "godwit_moves: %s\n%s", ran.error().to_string().c_str(),
                 cluster->log_tail().c_str());
    return kExitFailed;
  }
  return conductor.judge();
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
  app.add_flag("--json", options.json, "print the result as JSON");
  app.add_flag("--keep", options.keep, "leave logs in place");
  // How this program starts itself as a worker; not for people.
  app.add_option("--worker", options.role)->group("");
  app.add_option("--run", options.runtime_directory)->group("");
  app.add_option("--transport", options.transport)->group("");
  app.add_option("--index", options.index)->group("");
  app.add_flag("--stand-by", options.stand_by)->group("");
  CLI11_PARSE(app, argc, argv);
  if (options.role == "bank") return run_bank(options);
  if (options.role == "client") return run_client(options);
  return conduct(options);
}

}  // namespace

}  // namespace moves

int main(int argc, char** argv) {
  return moves::parse_and_run(argc, argv);
}
