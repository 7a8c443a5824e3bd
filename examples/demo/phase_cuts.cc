#include <algorithm>
#include <string>
#include <vector>

#include "phases.h"

namespace demo {

namespace {

constexpr auto kLimit = std::chrono::seconds(45);
constexpr int kMilliseconds = 3000;

}  // namespace

Result<void> show_cuts(Stage& stage) {
  const auto& nodes = stage.cluster.nodes();
  Crew crew(stage.cluster);
  stage.live.begin("connections cut under load");
  auto ledger = crew.start_server(nodes[0], "ledger");
  if (!ledger) return tl::make_unexpected(ledger.error());

  // Within the node shm carries the channel, to another node tcp does. Each cut names the next.
  struct Journey {
    std::string node, path;
  };
  const std::vector<Journey> journeys = {
      {nodes[0], stage.ucx ? "tcp,ucx,shm" : "tcp,shm"},
      {nodes[1], stage.ucx ? "ucx,tcp" : "tcp,tcp"},
  };
  std::vector<Worker*> writers;
  for (const Journey& journey : journeys) {
    auto writer =
        crew.start(journey.node, "ledger-writer",
                   {"--path", journey.path, "--milliseconds", std::to_string(kMilliseconds)});
    if (!writer) return tl::make_unexpected(writer.error());
    writers.push_back(*writer);
  }
  const auto finished = [&] {
    return std::all_of(writers.begin(), writers.end(),
                       [](const Worker* each) { return each->find("result") != nullptr; });
  };
  auto ran = crew.run_until(finished, kLimit, [&] {
    stage.live.show(std::to_string(crew.total_progress("ledger-writer")) + " messages and calls");
  });
  if (!ran) return ran;

  std::uint64_t written = 0, lost = 0, doubled = 0, unanswered = 0, cuts = 0, repeated = 0;
  bool carried_on = true, moved = false;
  for (std::size_t i = 0; i < writers.size(); ++i) {
    const WorkerLine& result = *writers[i]->find("result");
    CutRow row;
    row.node = journeys[i].node;
    row.path = result.text("path");
    row.cuts = result.number("cuts");
    row.written = result.number("written");
    row.calls = result.number("calls");
    row.lost = result.number("lost");
    row.doubled = result.number("doubled");
    row.longest_pause_ms = double(result.number("pause")) / 1e6;
    stage.report.cuts.push_back(row);
    written += row.written;
    lost += row.lost + (row.written - std::min(row.written, result.number("executed")));
    doubled += row.doubled;
    unanswered += row.calls - std::min(row.calls, result.number("answered"));
    cuts += row.cuts;
    repeated += result.number("repeated");
    const auto steps = static_cast<std::uint64_t>(
        std::count(journeys[i].path.begin(), journeys[i].path.end(), ',') + 1);
    carried_on = carried_on && result.number("stuck") == 0 && row.cuts >= steps;
    // Which transport comes next is a wish: another that was sooner carries as well.
    const std::string first = row.path.substr(0, row.path.find(','));
    const std::string others = row.path.substr(first.size());
    for (const char* kind : {"shm", "tcp", "ucx"}) {
      moved = moved || (kind != first && others.find(kind) != std::string::npos);
    }
  }
  stage.live.end(std::to_string(written) + " messages and calls, " + std::to_string(cuts) +
                 " cuts");
  stage.report.promise("a cut connection is carried on over another transport", carried_on && moved,
                       std::to_string(cuts) + " cuts under load, " + std::to_string(repeated) +
                           " repeated because another transport was sooner");
  stage.report.promise("nothing is lost, doubled or reordered by it",
                       written > 0 && lost == 0 && doubled == 0 && unanswered == 0,
                       std::to_string(written) + " sent, " + std::to_string(lost) + " lost, " +
                           std::to_string(doubled) + " doubled or late, " +
                           std::to_string(unanswered) + " calls without their reply");
  return crew.stop(**ledger);
}

}  // namespace demo
