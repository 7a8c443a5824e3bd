// godwit stat
#include <algorithm>
#include <charconv>
#include <memory>

#include "cli/command.h"
#include "cli/counters_file.h"
#include "cli/counters_view.h"
#include "cli/ticker.h"
#include "cli/units.h"
#include "godwit/agent_link.h"

namespace godwit::node::cli {
namespace {

struct StatOptions {
  std::string process;  // a pid, or the process's 16 digits
  std::chrono::nanoseconds watch{0};
  std::uint64_t count = 0;  // 0: until interrupted
};

bool chosen(const ProcessCounters& process, const std::string& wanted) {
  return wanted.empty() || std::to_string(process.pid) == wanted ||
         hex_number(process.process) == wanted;
}

Result<std::vector<ProcessCounters>> read(const Context& context, const StatOptions& options) {
  const std::string run = context.run.empty() ? default_runtime_directory() : context.run;
  std::vector<Error> problems;
  auto all = read_all_counters(run, problems);
  for (const Error& problem : problems) remark(problem.to_string());
  if (!all) return all;
  std::erase_if(*all, [&](const auto& process) { return !chosen(process, options.process); });
  if (all->empty() && !options.process.empty()) {
    return fail(Errc::not_found, "no process " + options.process + " has counters in " + run +
                                     ": 'godwit stat' shows those that have");
  }
  return all;
}

void show(const Context& context, const StatOptions& options,
          const std::vector<Interval>& processes) {
  if (context.json) {
    Json document = Json::array();
    for (const Interval& interval : processes) document.push_back(json_of(interval));
    print_json({{"processes", document}}, options.watch.count() > 0);
    return;
  }
  if (options.watch.count() > 0) {
    print(rates_table(processes) + "\n", true);
    return;
  }
  std::vector<ProcessCounters> plain;
  for (const Interval& interval : processes) plain.push_back(*interval.now);
  if (options.process.empty()) {
    print(totals_table(plain));
  } else {
    for (const ProcessCounters& process : plain) print(details(process));
  }
}

Result<void> stat(const Context& context, const StatOptions& options) {
  auto now = read(context, options);
  if (!now) return tl::make_unexpected(now.error());
  if (options.watch.count() == 0) {
    show(context, options, intervals({}, *now));
    return {};
  }
  auto ticker = Ticker::create(options.watch, false);
  if (!ticker) return tl::make_unexpected(ticker.error());
  for (std::uint64_t shown = 0; options.count == 0 || shown < options.count;) {
    const Ticker::Event event = ticker->wait();
    if (event == Ticker::Event::stop) break;
    if (event != Ticker::Event::tick) continue;
    auto next = read(context, options);
    if (!next) return tl::make_unexpected(next.error());
    show(context, options, intervals(*now, *next));
    now = std::move(next);
    ++shown;
  }
  return {};
}

}  // namespace

void add_stat_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<StatOptions>();
  CLI::App* command = add_command(
      app, context,
      {.name = "stat",
       .summary = "Show live counters of this node's processes",
       .details =
           "Read from mapped files: the processes are not disturbed and no agent is needed. "
           "Without a process,\none line each; with one, every counter, for each engine and "
           "in total. With --watch, rates; with\n--json as well, one JSON document on a line "
           "for each interval. docs/cli.md explains the counters.",
       .examples = "  godwit stat\n"
                   "  godwit stat 4711\n"
                   "  godwit stat --watch 1s\n"
                   "  godwit stat --json | jq '.processes[].totals.calls'"},
      [&context, options] { return stat(context, *options); });
  command->add_option("process", options->process,
                      "A pid, or a process's number as 'godwit ps' has it");
  add_duration(command, "--watch", options->watch, "Show rates over each interval of this length",
               Ticker::kShortest);
  add_count(command, "--count", options->count, "With --watch: end after N intervals");
}

}  // namespace godwit::node::cli
