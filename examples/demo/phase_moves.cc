#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "local_cluster/command_line.h"
#include "phases.h"
#include "workers.h"

namespace demo {

namespace {

using godwit::local_cluster::CommandLine;

constexpr auto kLimit = std::chrono::seconds(90);
constexpr auto kStandbyPatience = std::chrono::seconds(20);
constexpr std::uint32_t kClients = 4;

// One server with its standbys and clients, moved around the nodes.
class Tour {
 public:
  Tour(Stage& stage, std::uint32_t mebibytes)
      : stage_(stage),
        crew_(stage.cluster),
        command_line_(stage.cluster, crew_),
        mebibytes_(mebibytes) {}

  Result<void> start();
  Result<void> move(std::uint32_t number);
  Result<void> finish();
  /// Adds to these, over all clients.
  std::uint64_t calls = 0, lost = 0, doubled = 0, stale = 0;

 private:
  Result<std::vector<double>> laps();

  Stage& stage_;
  Crew crew_;
  CommandLine command_line_;
  const std::uint32_t mebibytes_;
  std::vector<Worker*> servers_, clients_;
  std::size_t laps_ = 0;
};

Result<void> Tour::start() {
  const auto& nodes = stage_.cluster.nodes();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    std::vector<std::string> flags = {"--mebibytes", std::to_string(mebibytes_)};
    if (i != 0) flags.push_back("--stand-by");
    auto server = crew_.start_server(nodes[i], "mobile", std::move(flags));
    if (!server) return tl::make_unexpected(server.error());
    servers_.push_back(*server);
  }
  for (std::uint32_t i = 0; i < kClients; ++i) {
    auto client = crew_.start_server(nodes[i % nodes.size()], "mobile-client",
                                     {"--index", std::to_string(i)});
    if (!client) return tl::make_unexpected(client.error());
    clients_.push_back(*client);
  }
  // A node can be moved to once the others know that a process stands by there.
  return command_line_.wait_for_standbys(nodes.front(), nodes.front(), kMobileProgram,
                                         kStandbyPatience);
}

/// The longest pause that each client has seen since the last call of this, sorted.
Result<std::vector<double>> Tour::laps() {
  ++laps_;
  for (Worker* client : clients_) client->process.write_line("lap");
  const auto all = [&] {
    return std::all_of(clients_.begin(), clients_.end(),
                       [&](const Worker* each) { return each->find_all("lap").size() >= laps_; });
  };
  if (auto said = crew_.run_until(all, kLimit); !said) return tl::make_unexpected(said.error());
  std::vector<double> pauses;
  for (const Worker* client : clients_) {
    pauses.push_back(double(client->find_all("lap")[laps_ - 1]->number("pause")) / 1e6);
  }
  std::sort(pauses.begin(), pauses.end());
  return pauses;
}

Result<void> Tour::move(std::uint32_t number) {
  const auto& nodes = stage_.cluster.nodes();
  const std::string& to = nodes[number % nodes.size()];
  if (auto before = laps(); !before) return tl::make_unexpected(before.error());
  auto moved = command_line_.run(nodes.front(), {"migrate", kMobile, to, "--json"});
  if (!moved) return tl::make_unexpected(moved.error());
  auto pauses = laps();
  if (!pauses) return tl::make_unexpected(pauses.error());
  const auto told = nlohmann::json::parse(*moved, nullptr, false);
  MoveRow row;
  if (!told.is_discarded() && told.contains("migration")) {
    const auto& record = told["migration"];
    row.rounds = record.value("rounds", 0u);
    row.bytes_sent = record.value("sent_bytes", std::uint64_t{0});
    row.copy_ms = record.value("copied_us", 0.0) / 1e3;
    row.gate_ms = record.value("blackout_us", 0.0) / 1e3;
  }
  row.mebibytes = mebibytes_;
  row.from = nodes[(number - 1) % nodes.size()];
  row.to = to;
  row.median_pause_ms = (*pauses)[pauses->size() / 2];
  row.longest_pause_ms = pauses->back();
  stage_.report.moves.push_back(row);
  stage_.live.show(row.from + " -> " + row.to);
  return {};
}

Result<void> Tour::finish() {
  for (Worker* client : clients_) client->process.write_line("finish");
  const auto all = [&] {
    return std::all_of(clients_.begin(), clients_.end(),
                       [](const Worker* each) { return each->find("result") != nullptr; });
  };
  if (auto said = crew_.run_until(all, kLimit); !said) return said;
  for (Worker* client : clients_) {
    client->dismissed = true;
    const WorkerLine& result = *client->find("result");
    calls += result.number("calls");
    lost += result.number("lost");
    doubled += result.number("doubled");
    stale += result.number("stale");
  }
  for (Worker* server : servers_) {
    if (auto stopped = crew_.stop(*server); !stopped) return stopped;
  }
  return {};
}

}  // namespace

Result<void> show_moves(Stage& stage) {
  if (stage.moves == 0) {
    stage.report.notes.push_back("no server was moved: --moves 0");
    return {};
  }
  std::uint64_t calls = 0, lost = 0, doubled = 0, stale = 0;
  for (const std::uint32_t mebibytes : {1u, stage.large_state}) {
    stage.live.begin("a server with " + std::to_string(mebibytes) + " MiB moves under load");
    Tour tour(stage, mebibytes);
    if (auto started = tour.start(); !started) return started;
    for (std::uint32_t number = 1; number <= stage.moves; ++number) {
      if (auto moved = tour.move(number); !moved) return moved;
    }
    if (auto finished = tour.finish(); !finished) return finished;
    calls += tour.calls;
    lost += tour.lost;
    doubled += tour.doubled;
    stale += tour.stale;
    stage.live.end(std::to_string(stage.moves) + " moves, " + std::to_string(tour.calls) +
                   " calls");
  }
  stage.report.promise("a server moves while its clients keep calling",
                       stage.report.moves.size() == 2 * stage.moves && calls > 0,
                       std::to_string(stage.report.moves.size()) + " moves, no call failed");
  stage.report.promise("each request is executed once, in order, wherever it is",
                       lost == 0 && doubled == 0 && stale == 0,
                       std::to_string(calls) + " calls, " + std::to_string(lost) + " lost, " +
                           std::to_string(doubled) + " doubled, " + std::to_string(stale) +
                           " out of order");
  return {};
}

}  // namespace demo
