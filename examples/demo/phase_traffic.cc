#include <algorithm>
#include <string>
#include <vector>

#include "phases.h"

namespace demo {

namespace {

constexpr auto kGrace = std::chrono::seconds(15);
constexpr std::uint32_t kManyInFlight = 32;

struct Leg {
  std::string transport;  // to force; empty: the best
  std::string node;
  std::uint32_t in_flight;
};

TrafficRow row_of(const WorkerLine& result, const Leg& leg, const std::string& server_node) {
  TrafficRow row;
  row.transport = result.text("transport");
  row.way = leg.node + " -> " + server_node;
  row.in_flight = leg.in_flight;
  row.calls = result.number("calls");
  row.per_second =
      double(row.calls) * 1e9 / double(std::max<std::uint64_t>(result.number("ns"), 1));
  row.p50_ns = result.number("p50");
  row.p99_ns = result.number("p99");
  row.max_ns = result.number("max");
  return row;
}

}  // namespace

Result<void> show_traffic(Stage& stage) {
  const auto& nodes = stage.cluster.nodes();
  Crew crew(stage.cluster);
  auto server = crew.start_server(nodes[0], "store");
  if (!server) return tl::make_unexpected(server.error());

  const std::vector<Leg> legs = {{"shm", nodes[0], 1}, {"shm", nodes[0], kManyInFlight},
                                 {"tcp", nodes[1], 1}, {"tcp", nodes[1], kManyInFlight},
                                 {"ucx", nodes[2], 1}, {"ucx", nodes[2], kManyInFlight}};
  const auto share = stage.traffic / static_cast<int>(legs.size() + 1);
  std::uint64_t calls = 0, wrong = 0, errors = 0, strayed = 0;

  // Runs callers side by side; one row each.
  const auto run = [&](const std::vector<Leg>& together) -> Result<bool> {
    std::vector<Worker*> callers;
    for (const Leg& leg : together) {
      std::vector<std::string> flags = {"--milliseconds", std::to_string(share.count()), "--window",
                                        std::to_string(leg.in_flight)};
      if (!leg.transport.empty()) flags.insert(flags.end(), {"--transport", leg.transport});
      auto caller = crew.start(leg.node, "caller", std::move(flags));
      if (!caller) return tl::make_unexpected(caller.error());
      callers.push_back(*caller);
    }
    const auto finished = [&] {
      for (const Worker* each : callers) {
        if (each->find("result") == nullptr && each->find("unavailable") == nullptr) return false;
      }
      return true;
    };
    const auto tick = [&] {
      std::uint64_t done = 0;
      for (const Worker* each : callers) done += each->progress;
      stage.live.show(std::to_string(done) + " calls");
    };
    if (auto ran = crew.run_until(finished, share + kGrace, tick); !ran) {
      return tl::make_unexpected(ran.error());
    }
    for (std::size_t i = 0; i < callers.size(); ++i) {
      if (const WorkerLine* unavailable = callers[i]->find("unavailable")) {
        if (together[i].in_flight == 1) {
          stage.report.notes.push_back(together[i].transport +
                                       " is left out: " + unavailable->text("why"));
        }
        return false;
      }
      const WorkerLine& result = *callers[i]->find("result");
      stage.report.traffic.push_back(row_of(result, together[i], nodes[0]));
      calls += result.number("calls");
      wrong += result.number("wrong");
      errors += result.number("errors");
      const std::string& wanted = together[i].transport;
      if (!wanted.empty() && result.text("transport") != wanted) ++strayed;
    }
    return true;
  };

  for (const Leg& leg : legs) {
    stage.live.begin("calls over " + leg.transport + ", " + std::to_string(leg.in_flight) +
                     " in flight");
    auto ran = run({leg});
    if (!ran) return tl::make_unexpected(ran.error());
    if (leg.transport == "ucx") stage.ucx = *ran;
    stage.live.end(*ran ? std::to_string(stage.report.traffic.back().calls) + " calls"
                        : "not available here");
  }
  stage.live.begin("calls from all nodes at once");
  std::vector<Leg> everybody;
  for (const std::string& node : nodes) everybody.push_back({"", node, kManyInFlight});
  const std::uint64_t before = calls;
  if (auto ran = run(everybody); !ran) return tl::make_unexpected(ran.error());
  stage.live.end(std::to_string(calls - before) + " calls");

  stage.report.promise("each call has its own reply, and none failed",
                       calls > 0 && wrong == 0 && errors == 0,
                       std::to_string(calls) + " calls, " + std::to_string(wrong) + " wrong, " +
                           std::to_string(errors) + " failed");
  stage.report.promise("traffic takes the transport that was asked for", strayed == 0,
                       stage.ucx ? "shm, tcp, ucx" : "shm, tcp");
  return crew.stop(**server);
}

}  // namespace demo
