#include <string>

#include "phases.h"

namespace demo {

namespace {

constexpr auto kLimit = std::chrono::seconds(30);

}  // namespace

Result<void> show_copies(Stage& stage) {
  const auto& nodes = stage.cluster.nodes();
  Crew crew(stage.cluster);
  stage.live.begin("bulk copies by grants");
  auto archive = crew.start_server(nodes[0], "archive");
  if (!archive) return tl::make_unexpected(archive.error());
  std::uint64_t wrong = 0, bytes = 0;
  for (const std::string& node : {nodes[0], nodes[1]}) {
    auto copier = crew.start(node, "copier");
    if (!copier) return tl::make_unexpected(copier.error());
    auto ran = crew.run_until([&] { return (*copier)->find("result") != nullptr; }, kLimit,
                              [&] { stage.live.show("to " + node); });
    if (!ran) return ran;
    const WorkerLine& result = *(*copier)->find("result");
    CopyRow row;
    row.transport = result.text("transport");
    row.way = nodes[0] + " -> " + node;
    row.bytes = result.number("bytes");
    row.gigabytes_per_second = double(row.bytes) / double(result.number("ns"));
    stage.report.copies.push_back(row);
    wrong += result.number("wrong");
    bytes += result.number("bytes") * result.number("rounds");
  }
  const std::string copied = std::to_string(bytes >> 20) + " MiB";
  stage.live.end(copied);
  stage.report.promise("copies by grants are complete and right", bytes > 0 && wrong == 0,
                       copied + ", " + std::to_string(wrong) + " words wrong");
  return crew.stop(**archive);
}

}  // namespace demo
