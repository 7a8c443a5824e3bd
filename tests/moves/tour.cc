#include "tour.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

namespace moves {

namespace {

using namespace std::chrono_literals;

constexpr auto kReadyLimit = 30s;
constexpr const char* kSteps[] = {"closed",    "transferred",     "restored",
                                  "committed", "target_blackout", "blackout"};

struct Blackouts {
  std::vector<double> ms;
  double quantile(double share) const {
    if (ms.empty()) return 0;
    return ms[static_cast<std::size_t>(share * static_cast<double>(ms.size() - 1))];
  }
};

class Tour {
 public:
  Tour(const Options& options, Cluster& cluster)
      : options_(options),
        cluster_(cluster),
        conductor_(options, cluster),
        crew_(conductor_.crew()),
        random_(options.seed) {}

  Result<void> run();
  int judge();

 private:
  Result<void> start();
  Result<void> finish();
  void print_line();
  void take_times(const std::string& answer);
  std::uint64_t done() const { return crew_.total_progress("client"); }

  const Options& options_;
  Cluster& cluster_;
  Conductor conductor_;
  Crew& crew_;
  std::mt19937_64 random_;
  std::vector<Worker*> banks_, clients_;
  std::size_t place_ = 0;  // of the bank, by node
  unsigned moved_ = 0;
  Clock::time_point began_{}, next_line_{};
  double seconds_ = 0;
  std::map<std::string, std::vector<double>> steps_;  // ms
};

Result<void> Tour::start() {
  const auto& nodes = cluster_.nodes();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    auto bank = conductor_.start_bank(nodes[i], i != 0);
    if (!bank) return tl::make_unexpected(bank.error());
    banks_.push_back(*bank);
  }
  for (unsigned i = 0; i < options_.clients; ++i) {
    auto client = conductor_.start_client(nodes[i % nodes.size()]);
    if (!client) return tl::make_unexpected(client.error());
    clients_.push_back(*client);
  }
  return conductor_.command_line().wait_for_standbys(nodes.front(), nodes.front(), kProgram,
                                                     kReadyLimit);
}

Result<void> Tour::finish() {
  const auto all = [](const std::vector<Worker*>& workers) {
    return std::all_of(workers.begin(), workers.end(),
                       [](Worker* each) { return each->find("result") != nullptr; });
  };
  for (Worker* each : clients_) each->process.write_line("finish");
  if (auto said = crew_.run_until([&] { return all(clients_); }, kReadyLimit); !said) return said;
  for (Worker* each : banks_) each->process.write_line("finish");
  return crew_.run_until([&] { return all(banks_); }, kReadyLimit);
}

void Tour::print_line() {
  if (Clock::now() < next_line_ || options_.json) return;
  next_line_ = Clock::now() + 5s;
  std::printf("  %4.0f s  %u moves, %llu operations\n",
              std::chrono::duration<double>(Clock::now() - began_).count(), moved_,
              static_cast<unsigned long long>(done()));
  std::fflush(stdout);
}

/// What the processes and agents say of the steps of a move.
void Tour::take_times(const std::string& answer) {
  const auto document = nlohmann::json::parse(answer, nullptr, false);
  if (document.is_discarded() || !document.contains("migration")) return;
  const auto& migration = document["migration"];
  for (const char* step : kSteps) {
    const auto found = migration.find(std::string(step) + "_us");
    if (found != migration.end() && found->is_number()) {
      steps_[step].push_back(found->get<double>() / 1e3);
    }
  }
}

Result<void> Tour::run() {
  if (auto started = start(); !started) return started;
  began_ = next_line_ = Clock::now();
  const auto& nodes = cluster_.nodes();
  while (moved_ < options_.moves || done() < options_.operations) {
    if (moved_ < options_.moves) {
      place_ = (place_ + 1 + random_() % (nodes.size() - 1)) % nodes.size();
      auto moved =
          conductor_.command_line().run(nodes.front(), {"migrate", kBank, nodes[place_], "--json"});
      if (!moved) return tl::make_unexpected(moved.error());
      ++moved_;
      take_times(*moved);
    }
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(options_.pause));
    auto waited = crew_.run_until([&] { return Clock::now() >= until; }, kReadyLimit);
    if (!waited) return waited;
    if (Clock::now() - began_ > std::chrono::seconds(options_.limit)) {
      return godwit::fail(godwit::Errc::deadline_exceeded, "the run takes too long");
    }
    print_line();
  }
  seconds_ = std::chrono::duration<double>(Clock::now() - began_).count();
  return finish();
}

int Tour::judge() {
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
  nlohmann::json steps;
  for (const char* step : kSteps) {
    std::vector<double>& all = steps_[step];
    std::sort(all.begin(), all.end());
    steps[step] = Blackouts{all}.quantile(0.5);
  }
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
                                   {"steps_ms", steps},
                                   {"slowest_call_elsewhere_ms", slowest},
                                   {"sound", sound}};
    std::printf("%s\n", report.dump(2).c_str());
    return sound ? 0 : kExitBroken;
  }
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
  std::printf("%s\n", sound ? "nothing lost, nothing doubled, order kept" : "promises are broken");
  return sound ? 0 : kExitBroken;
}

}  // namespace

int run_tour(const Options& options) {
  auto cluster = start_cluster(options);
  if (!cluster) {
    std::fprintf(stderr, "godwit_moves: %s\n", cluster.error().to_string().c_str());
    return kExitFailed;
  }
  if (options.keep) {
    cluster->keep_folder();
    std::fprintf(stderr, "logs stay in %s\n", cluster->folder().c_str());
  }
  Tour tour(options, *cluster);
  if (auto ran = tour.run(); !ran) {
    std::fprintf(stderr, "godwit_moves: %s\n%s", ran.error().to_string().c_str(),
                 cluster->log_tail().c_str());
    return kExitFailed;
  }
  return tour.judge();
}

}  // namespace moves
