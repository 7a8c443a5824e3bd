// godwit top
#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include "admin_client.h"
#include "cli/command.h"
#include "cli/counters_file.h"
#include "cli/counters_view.h"
#include "cli/screen.h"
#include "cli/ticker.h"
#include "cli/units.h"
#include "godwit/agent_link.h"
#include "godwit/resolver.h"

namespace godwit::node::cli {
namespace {

struct TopOptions {
  std::chrono::nanoseconds interval = std::chrono::seconds(1);
  std::uint64_t count = 0;  // 0: until the user ends it
};

struct SortKey {
  std::string_view name;
  double (*value)(const Interval&);
};

constexpr std::array<SortKey, 3> kSortKeys = {{
    {"messages and calls",
     [](const Interval& interval) {
       return interval.rate(&EngineCounters::sends) + interval.rate(&EngineCounters::receives) +
              interval.rate(&EngineCounters::calls) + interval.rate(&EngineCounters::requests);
     }},
    {"bytes",
     [](const Interval& interval) {
       return interval.rate(&EngineCounters::PerTransport::bytes_sent) +
              interval.rate(&EngineCounters::PerTransport::bytes_received);
     }},
    {"endpoints",
     [](const Interval& interval) {
       return static_cast<double>(interval.now->totals.get(&EngineCounters::endpoints));
     }},
}};

// What is on show, and what the keys change.
struct View {
  std::size_t sort = 0;
  bool endpoints = false;
  bool paused = false;
};

// Names of endpoints by process, from the agent. Counters are per engine, so an endpoint has no
// rate of its own; its process's stands above it.
class EndpointNames {
 public:
  explicit EndpointNames(std::string run) : run_(std::move(run)) {}

  // Asked rarely: the agent has better things to do.
  void refresh() {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return;
    next_ = now + std::chrono::seconds(3);
    by_process_.clear();
    problem_.clear();
    auto agent = AdminClient::connect(run_, std::chrono::seconds(1));
    if (!agent) {
      problem_ = agent.error().to_string();
      return;
    }
    endpoints::proto::ListEndpointsRequest request;
    request.set_node(agent->hello().node());
    std::size_t room = kMost;
    const auto listed =
        agent->list_endpoints(request, [&](const endpoints::proto::EndpointInfo& info) {
          const auto& place = info.place();
          const std::string& name = place.name();
          by_process_[place.process()].push_back(
              (name.empty() ? info.dc_name() + "/ (anonymous)" : name) + "  " +
              std::string(to_string(static_cast<EndpointState>(place.state()))));
          return --room > 0;
        });
    if (!listed) problem_ = listed.error().to_string();
  }

  const std::vector<std::string>& of(std::uint64_t process) const {
    static const std::vector<std::string> kNone;
    const auto found = by_process_.find(process);
    return found == by_process_.end() ? kNone : found->second;
  }
  const std::string& problem() const { return problem_; }

 private:
  static constexpr std::size_t kMost = 2000;  // more than any screen has lines

  std::string run_;
  std::chrono::steady_clock::time_point next_{};
  std::map<std::uint64_t, std::vector<std::string>> by_process_;
  std::string problem_;
};

std::string lines_of(const std::vector<Interval>& processes, const View& view,
                     const EndpointNames& names, const std::string& run) {
  std::string text = "godwit top  " + printable(run) + "  " + std::to_string(processes.size()) +
                     " processes, by " + std::string(kSortKeys[view.sort].name) +
                     (view.paused ? "  PAUSED" : "") + "\n" +
                     "q quit  s sort  e endpoints  space pause\n";
  if (view.endpoints && !names.problem().empty()) text += printable(names.problem()) + "\n";
  std::string table = rates_table(processes);
  text += Screen::kTitle;
  if (!view.endpoints) return text + table;
  // The table's first line is the title, then one for each process.
  std::size_t begin = table.find('\n') + 1;
  text += table.substr(0, begin);
  for (const Interval& interval : processes) {
    const std::size_t end = table.find('\n', begin) + 1;
    text += table.substr(begin, end - begin);
    begin = end;
    for (const std::string& name : names.of(interval.now->process))
      text += "         " + printable(name) + "\n";
  }
  return text;
}

class Top {
 public:
  Top(const Context& context, const TopOptions& options)
      : context_(context),
        options_(options),
        run_(context.run.empty() ? default_runtime_directory() : context.run),
        names_(run_) {}

  Result<void> run() {
    if (auto first = read(); !first) return first;
    return !context_.json && Screen::possible() ? live() : plain();
  }

 private:
  Result<void> read() {
    std::vector<Error> problems;
    auto all = read_all_counters(run_, problems);
    // Nothing has run yet, or everything has ended: an empty list, and there may be more soon.
    if (!all && all.error().code != Errc::not_found) return tl::make_unexpected(all.error());
    before_ = std::move(now_);
    now_ = all ? std::move(*all) : std::vector<ProcessCounters>();
    return {};
  }

  std::vector<Interval> sorted() const {
    auto processes = intervals(before_, now_);
    std::stable_sort(processes.begin(), processes.end(), [&](const Interval& a, const Interval& b) {
      return kSortKeys[view_.sort].value(a) > kSortKeys[view_.sort].value(b);
    });
    return processes;
  }

  Result<void> live() {
    auto ticker = Ticker::create(options_.interval, true);
    if (!ticker) return tl::make_unexpected(ticker.error());
    Screen screen;
    const auto draw = [&] {
      if (view_.endpoints) names_.refresh();
      screen.show(lines_of(sorted(), view_, names_, run_));
    };
    draw();
    for (std::uint64_t ticks = 0; options_.count == 0 || ticks < options_.count;) {
      switch (ticker->wait()) {
        case Ticker::Event::stop:
          return {};
        case Ticker::Event::suspend:
          screen.leave();
          ticker->suspend();
          screen.enter();
          break;
        case Ticker::Event::resize:
          break;
        case Ticker::Event::key:
          if (ticker->key() == 'q') return {};
          if (ticker->key() == 's') view_.sort = (view_.sort + 1) % kSortKeys.size();
          if (ticker->key() == 'e') view_.endpoints = !view_.endpoints;
          if (ticker->key() == ' ') view_.paused = !view_.paused;
          break;
        case Ticker::Event::tick:
          ++ticks;
          if (view_.paused) continue;
          if (auto next = read(); !next) return next;
          break;
      }
      draw();
    }
    return {};
  }

  Result<void> plain() {
    auto ticker = Ticker::create(options_.interval, false);
    if (!ticker) return tl::make_unexpected(ticker.error());
    for (std::uint64_t ticks = 0; options_.count == 0 || ticks < options_.count;) {
      const Ticker::Event event = ticker->wait();
      if (event == Ticker::Event::stop) break;
      if (event != Ticker::Event::tick) continue;
      if (auto next = read(); !next) return next;
      ++ticks;
      const auto processes = sorted();
      if (context_.json) {
        Json document = Json::array();
        for (const Interval& interval : processes) document.push_back(json_of(interval));
        print_json({{"processes", document}}, true);
      } else {
        print(rates_table(processes) + "\n", true);
      }
    }
    return {};
  }

  const Context& context_;
  const TopOptions options_;
  const std::string run_;
  EndpointNames names_;
  View view_;
  std::vector<ProcessCounters> before_;
  std::vector<ProcessCounters> now_;
};

}  // namespace

void add_top_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<TopOptions>();
  CLI::App* command = add_command(
      app, context,
      {.name = "top",
       .summary = "A live screen of what this node's processes do",
       .details =
           "Keys: q quits, s sorts by another column, e shows the endpoints of each process, "
           "space pauses.\nWithout a terminal, or with --json, the same is printed line by "
           "line.",
       .examples = "  godwit top\n"
                   "  godwit top --interval 250ms\n"
                   "  godwit top --count 10 > rates.txt"},
      [&context, options] { return Top(context, *options).run(); });
  add_duration(command, "--interval", options->interval, "Time between two readings (default: 1s)",
               Ticker::kShortest);
  add_count(command, "--count", options->count, "End after N intervals");
}

}  // namespace godwit::node::cli
