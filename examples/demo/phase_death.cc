#include <algorithm>
#include <string>
#include <vector>

#include "phases.h"

namespace demo {

namespace {

constexpr auto kLimit = std::chrono::seconds(15);
constexpr double kPromisedMs = 1000;
constexpr std::size_t kClientsPerNode = 2;  // one waits in a call, one calls on and on

const WorkerLine* find_how(const Worker& worker, const std::string& what, const std::string& how) {
  for (const WorkerLine* line : worker.find_all(what)) {
    if (line->text("how") == how) return line;
  }
  return nullptr;
}

double milliseconds_between(std::uint64_t from, std::uint64_t to) {
  return (double(to) - double(from)) / 1e6;
}

}  // namespace

Result<void> show_death(Stage& stage) {
  const auto& nodes = stage.cluster.nodes();
  Crew crew(stage.cluster);
  stage.live.begin("kill -9 of a server");
  auto server = crew.start_server(nodes[0], "store");
  if (!server) return tl::make_unexpected(server.error());

  std::vector<Worker*> watchers;
  for (const std::string& node : nodes) {
    auto watcher = crew.start(node, "watcher");
    if (!watcher) return tl::make_unexpected(watcher.error());
    watchers.push_back(*watcher);
  }
  const auto all_said = [&](const std::string& what) {
    return std::all_of(watchers.begin(), watchers.end(), [&](const Worker* each) {
      return each->find_all(what).size() >= kClientsPerNode;
    });
  };
  if (auto ready = crew.run_until([&] { return all_said("waiting"); }, kLimit); !ready)
    return ready;

  const std::uint64_t killed = crew.kill(**server);
  const auto told = crew.run_until([&] { return all_said("told"); }, kLimit);
  if (!told && told.error().code != godwit::Errc::deadline_exceeded) return told;

  auto successor = crew.start_server(nodes[0], "store");
  if (!successor) return tl::make_unexpected(successor.error());
  const std::uint64_t ready_at = (*successor)->find("ready")->number("at");
  const auto found = crew.run_until([&] { return all_said("found"); }, kLimit);
  if (!found && found.error().code != godwit::Errc::deadline_exceeded) return found;

  double worst = 0;
  std::size_t told_in_time = 0, found_it = 0;
  bool right_error = true;
  for (const Worker* watcher : watchers) {
    for (const auto& [how, client] :
         {std::pair<std::string, std::string>{"waiting", "waits for a reply"},
          {"calling", "calls on and on"}}) {
      DeathRow row{watcher->node, client};
      if (const WorkerLine* line = find_how(*watcher, "told", how)) {
        row.told_ms = milliseconds_between(killed, line->number("at"));
        worst = std::max(worst, row.told_ms);
        right_error = right_error && line->text("code") == "endpoint_died";
        told_in_time += row.told_ms < kPromisedMs ? 1 : 0;
      }
      if (const WorkerLine* line = find_how(*watcher, "found", how)) {
        row.successor_ms = std::max(0.0, milliseconds_between(ready_at, line->number("at")));
        found_it += line->number("successor");
      }
      stage.report.deaths.push_back(row);
    }
  }
  const std::size_t clients = watchers.size() * kClientsPerNode;
  stage.live.end("the last client was told after " + std::to_string(int(worst + 0.5)) + " ms");
  stage.report.promise("a killed server's clients are told within a second",
                       told_in_time == clients && right_error,
                       std::to_string(told_in_time) + " of " + std::to_string(clients) +
                           " clients, the last after " + std::to_string(int(worst + 0.5)) + " ms" +
                           (right_error ? "" : ", with another error than endpoint_died"));
  stage.report.promise("clients find the successor under the same name", found_it == clients,
                       std::to_string(found_it) + " of " + std::to_string(clients) + " clients");
  return crew.stop(**successor);
}

}  // namespace demo
