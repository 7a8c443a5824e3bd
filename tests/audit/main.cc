// godwit_audit: real processes on two or more nodes send and call each other over every transport
// while their connections are cut, or while they themselves are killed; then every step that any of
// them wrote down is checked: nothing lost, nothing doubled, order kept per pair, every word about
// a call true. Copies against grants are compared with what was written before.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "checker.h"
#include "local_cluster/crew.h"
#include "nodes.h"
#include "options.h"
#include "worker.h"

namespace audit {

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::Crew;
using CrewWorker = godwit::local_cluster::Worker;
using Clock = std::chrono::steady_clock;

constexpr int kExitBroken = 1;
constexpr int kExitFailed = 2;
constexpr auto kReadyLimit = 30s;
constexpr auto kDrainLimit = 40s;

class Conductor {
 public:
  Conductor(const Options& options, const Nodes& nodes)
      : options_(options),
        nodes_(nodes),
        crew_([&nodes](const std::string& node) { return nodes.place(node); }),
        random_(options.seed) {}

  godwit::Result<void> run();
  int judge();

 private:
  godwit::Result<void> start(unsigned worker);
  godwit::Result<void> kill_at_random();
  godwit::Result<void> wait_all(const char* what, std::chrono::milliseconds limit);
  void tick();

  const Options& options_;
  const Nodes& nodes_;
  Crew crew_;
  std::mt19937_64 random_;
  std::vector<CrewWorker*> workers_;  // the present life of each
  struct Actor {
    std::string node, history;
  };
  std::vector<Actor> actors_;
  Clock::time_point began_ = Clock::now(), ended_{}, next_line_ = Clock::now();
};

godwit::Result<void> Conductor::start(unsigned worker) {
  const auto actor = static_cast<unsigned>(actors_.size());
  const std::string history = "actor-" + std::to_string(actor) + ".history";
  // The first half of the workers on one node, the others on another.
  const auto& nodes = nodes_.names();
  const std::string& node = nodes[worker * nodes.size() / options_.processes];
  const std::uint64_t pairs = std::uint64_t{options_.processes} * (options_.processes - 1);
  const std::uint64_t quota =
      options_.kills == 0 ? std::max<std::uint64_t>((options_.operations + pairs - 1) / pairs, 1)
                          : 0;
  auto started = crew_.start(
      node, "worker",
      {"--worker-index", std::to_string(worker), "--actor", std::to_string(actor), "--history",
       nodes_.file(history), "--quota", std::to_string(quota), "--processes",
       std::to_string(options_.processes), "--seed", std::to_string(options_.seed),
       "--cuts-per-second", std::to_string(options_.cuts_per_second), "--copies",
       std::to_string(options_.copies), "--transports",
       CLI::detail::join(options_.transports, ",")});
  if (!started) return tl::make_unexpected(started.error());
  actors_.push_back({node, history});
  if (workers_.size() <= worker) workers_.resize(worker + 1);
  workers_[worker] = *started;
  return {};
}

void Conductor::tick() {
  const auto now = Clock::now();
  if (now < next_line_) return;
  next_line_ = now + 5s;
  std::printf("  %5.0f s  %llu operations accepted\n",
              std::chrono::duration<double>(now - began_).count(),
              static_cast<unsigned long long>(crew_.total_progress("worker")));
  std::fflush(stdout);
}

godwit::Result<void> Conductor::wait_all(const char* what, std::chrono::milliseconds limit) {
  const auto all = [&] {
    return std::all_of(workers_.begin(), workers_.end(),
                       [&](const CrewWorker* each) { return each->find(what) != nullptr; });
  };
  auto waited = crew_.run_until(all, limit, [this] { tick(); });
  if (waited || waited.error().code != godwit::Errc::deadline_exceeded) return waited;
  std::string missing;
  for (unsigned i = 0; i < workers_.size(); ++i) {
    if (workers_[i]->find(what) == nullptr) missing += " " + std::to_string(i);
  }
  return godwit::fail(godwit::Errc::deadline_exceeded,
                      "no '" + std::string(what) + "' from worker" + missing);
}

godwit::Result<void> Conductor::kill_at_random() {
  const auto whole = std::chrono::duration<double>(options_.seconds);
  std::vector<double> moments(options_.kills);
  for (double& each : moments) each = double(random_() % 10'000) / 10'000 * whole.count();
  std::sort(moments.begin(), moments.end());
  const auto begin = Clock::now();
  const auto wait_until = [&](double moment) {
    return crew_.run_until(
        [&] { return std::chrono::duration<double>(Clock::now() - begin).count() >= moment; },
        kReadyLimit + std::chrono::milliseconds(static_cast<int>(moment * 1000)),
        [this] { tick(); });
  };
  for (const double moment : moments) {
    if (auto waited = wait_until(moment); !waited) return waited;
    const auto victim = static_cast<unsigned>(random_() % options_.processes);
    crew_.kill(*workers_[victim]);
    if (auto started = start(victim); !started) return started;
  }
  if (auto waited = wait_until(whole.count()); !waited) return waited;
  // Everybody is up again before the end, so that nothing of it is excused by a death.
  if (auto ready = wait_all("ready", kReadyLimit); !ready) return ready;
  for (CrewWorker* each : workers_) each->process.write_line("drain");
  return {};
}

godwit::Result<void> Conductor::run() {
  for (unsigned worker = 0; worker < options_.processes; ++worker) {
    if (auto started = start(worker); !started) return started;
  }
  if (auto ready = wait_all("ready", kReadyLimit); !ready) return ready;
  began_ = Clock::now();
  std::printf("%u processes on %zu nodes, seed %llu\n", options_.processes, nodes_.names().size(),
              static_cast<unsigned long long>(options_.seed));
  if (options_.kills > 0) {
    if (auto killed = kill_at_random(); !killed) return killed;
  }
  const auto limit = options_.kills > 0 ? kDrainLimit : std::chrono::seconds(options_.limit);
  if (auto done = wait_all("done", limit); !done) return done;
  ended_ = Clock::now();
  for (CrewWorker* each : workers_) each->process.write_line("finish");
  return wait_all("result", kReadyLimit);
}

int Conductor::judge() {
  std::vector<History> histories;
  for (const Actor& actor : actors_) {
    auto history = nodes_.fetch(actor.node, actor.history).and_then(read_history);
    if (!history) {
      // Killed before it had a history: then it had done nothing, either.
      if (options_.kills > 0 && history.error().code == godwit::Errc::not_found) continue;
      std::fprintf(stderr, "godwit_audit: %s\n", history.error().to_string().c_str());
      return kExitFailed;
    }
    histories.push_back(std::move(*history));
  }
  const Verdict verdict = check(histories);
  std::uint64_t cuts = 0, complaints = 0, copies = 0, taken_back = 0;
  std::string complaint, over;
  for (const char* transport : {"shm", "verbs", "tcp", "ucx"}) {
    std::uint64_t samples = 0;
    for (const CrewWorker* each : workers_) samples += each->find("result")->number(transport);
    over += std::string(over.empty() ? "" : ", ") + transport + " " + std::to_string(samples);
  }
  for (const CrewWorker* each : workers_) {
    const auto& result = *each->find("result");
    cuts += result.number("cuts");
    complaints += result.number("complaints");
    copies += result.number("copies");
    taken_back += result.number("taken_back");
    if (complaint.empty()) complaint = result.text("first");
  }
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  const double took = std::chrono::duration<double>(ended_ - began_).count();
  std::printf("%llu operations (%llu of them calls) in %.1f s: %.0f/s, over %zu pairs\n",
              number(verdict.operations), number(verdict.calls), took,
              double(verdict.operations) / took, verdict.pairs);
  std::printf("calls: %llu ok, %llu not executed, %llu of unknown outcome\n", number(verdict.ok),
              number(verdict.not_executed), number(verdict.unknown));
  std::printf("%llu connections cut, %u processes killed; channels seen over %s\n", number(cuts),
              options_.kills, over.c_str());
  std::string one_sided;
  for (const char* transport : {"shm", "verbs"}) {
    std::uint64_t bytes = 0;
    for (const CrewWorker* each : workers_)
      bytes += each->find("result")->number(std::string("one_sided_") + transport);
    one_sided += ", " + std::to_string(bytes) + " bytes one-sided over " + transport;
  }
  std::printf("%llu copies against grants%s; %llu grants taken back\n", number(copies),
              one_sided.c_str(), number(taken_back));
  for (std::size_t rule = 0; rule < kRules; ++rule) {
    if (verdict.broken[rule] == 0) continue;
    std::printf("BROKEN %-16s %llu\n", std::string(to_string(static_cast<Rule>(rule))).c_str(),
                number(verdict.broken[rule]));
  }
  constexpr std::size_t kShown = 20;
  for (std::size_t i = 0; i < std::min(kShown, verdict.violations.size()); ++i) {
    std::printf("  %s: %s\n", std::string(to_string(verdict.violations[i].rule)).c_str(),
                verdict.violations[i].text.c_str());
  }
  if (complaints > 0) {
    std::printf("BROKEN %llu complaints of the processes themselves, the first: %s\n",
                number(complaints), complaint.c_str());
  }
  const std::uint64_t wanted = options_.kills == 0 ? options_.operations : 1;
  const bool enough = verdict.operations >= wanted;
  if (!enough) std::printf("BROKEN only %llu operations\n", number(verdict.operations));
  // An audit of reconnecting in which nothing was cut would prove nothing.
  const bool tried = options_.cuts_per_second <= 0 || cuts > 0;
  if (!tried) std::printf("BROKEN no connection was cut\n");
  const bool copied = options_.copies == 0 || copies > 0;
  if (!copied) std::printf("BROKEN nothing was copied against a grant\n");
  const bool sound = verdict.sound() && complaints == 0 && enough && tried && copied;
  std::printf("%s\n", sound ? "nothing lost, nothing doubled, order kept"
                            : "the histories break the rules above");
  return sound ? 0 : kExitBroken;
}

int conduct(const Options& options) {
  godwit::local_cluster::catch_interrupts();
  auto nodes = Nodes::start(options);
  if (!nodes) {
    std::fprintf(stderr, "godwit_audit: %s\n", nodes.error().to_string().c_str());
    return kExitFailed;
  }
  if (options.keep) nodes->keep();
  Conductor conductor(options, *nodes);
  if (auto ran = conductor.run(); !ran) {
    std::fprintf(stderr, "godwit_audit: %s\n%s", ran.error().to_string().c_str(),
                 nodes->log_tail().c_str());
    return kExitFailed;
  }
  return conductor.judge();
}

int parse_and_run(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Sends and calls between processes on two nodes over shm, verbs, tcp and ucx, cutting\n"
      "connections or killing processes meanwhile, and checks the histories of all of them.\n"
      "Exit status: 0 every rule held, 1 one was broken, 2 it could not run.",
      "godwit_audit"};
  app.add_option("--operations", options.operations, "messages and calls of all processes together")
      ->capture_default_str();
  app.add_option("--processes", options.processes, "how many")
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of every choice made at random")->capture_default_str();
  app.add_option("--cuts-per-second", options.cuts_per_second,
                 "how often each process breaks all its connections; 0: never")
      ->capture_default_str();
  app.add_option("--kills", options.kills,
                 "kill -9 so many processes at random moments and start each again; the run then "
                 "lasts --seconds instead of --operations")
      ->check(CLI::Range(0, 500))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "how long a run with --kills lasts")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  app.add_option("--copies", options.copies,
                 "copies against grants for each thousand operations, each checked")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--transports", options.transports, "what the processes may use")
      ->delimiter(',')
      ->check(CLI::IsMember({"shm", "verbs", "tcp", "ucx"}))
      ->capture_default_str();
  app.add_option("--host", options.host,
                 "numeric address of the nodes; verbs needs that of an RDMA device")
      ->capture_default_str();
  app.add_option(
         "--node", options.nodes,
         "instead of agents of its own: a command that runs another one on a node and ends "
         "it when it is killed itself, such as 'ssh alpha'; once for each node, whose agents "
         "have the DC audit. This program must be there under the same path")
      ->type_name("COMMAND");
  app.add_option("--run", options.runtime_directory, "runtime directory of those agents")
      ->capture_default_str();
  app.add_option("--limit", options.limit, "seconds after which a run that hangs is given up")
      ->capture_default_str();
  app.add_flag("--keep", options.keep, "leave histories and logs in place");
  // How this program starts itself as a worker; not for people.
  app.add_option("--worker", options.role)->group("");
  app.add_option("--worker-index", options.worker)->group("");
  app.add_option("--actor", options.actor)->group("");
  app.add_option("--history", options.history)->group("");
  app.add_option("--quota", options.quota)->group("");
  CLI11_PARSE(app, argc, argv);
  return options.role.empty() ? conduct(options) : run_worker(options);
}

}  // namespace

}  // namespace audit

int main(int argc, char** argv) {
  return audit::parse_and_run(argc, argv);
}
