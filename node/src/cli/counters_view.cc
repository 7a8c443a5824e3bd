#include "cli/counters_view.h"

#include <algorithm>
#include <chrono>
#include <string_view>

#include "cli/units.h"

namespace godwit::node::cli {
namespace {

using PerTransport = EngineCounters::PerTransport;
using Align = Table::Align;

std::int64_t unix_ms(std::chrono::system_clock::time_point moment) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(moment.time_since_epoch()).count();
}

Json json_of_values(const CounterValues& values) {
  Json document = Json::object();
  for (std::size_t field = 0; field < kCounterFields.size(); ++field)
    document[std::string(kCounterFields[field].name)] = values.of_engine[field];
  Json& transports = document["transports"] = Json::object();
  for (std::size_t kind = 0; kind < kCountedTransports.size(); ++kind) {
    Json& row = transports[std::string(fabric::to_string(kCountedTransports[kind]))];
    for (std::size_t field = 0; field < kTransportFields.size(); ++field)
      row[std::string(kTransportFields[field].name)] = values.of_transport[kind][field];
  }
  return document;
}

std::string or_dash(const std::string& text) {
  return text.empty() ? "-" : text;
}

}  // namespace

double Interval::rate(Counter EngineCounters::*counter) const {
  return seconds > 0 ? static_cast<double>(change.get(counter)) / seconds : 0;
}

double Interval::rate(Counter PerTransport::*counter) const {
  return seconds > 0 ? static_cast<double>(change.total(counter)) / seconds : 0;
}

std::vector<Interval> intervals(const std::vector<ProcessCounters>& before,
                                const std::vector<ProcessCounters>& now) {
  std::vector<Interval> result;
  for (const ProcessCounters& process : now) {
    Interval interval;
    interval.now = &process;
    const auto former = std::find_if(before.begin(), before.end(), [&](const auto& candidate) {
      return candidate.process == process.process;
    });
    if (former != before.end()) {
      interval.change = process.totals.since(former->totals);
      interval.seconds = std::chrono::duration<double>(process.read_at - former->read_at).count();
    }
    result.push_back(interval);
  }
  return result;
}

Json json_of(const Interval& interval) {
  const ProcessCounters& process = *interval.now;
  Json document = {{"process", hex_number(process.process)},
                   {"pid", process.pid},
                   {"program", process.program},
                   {"node", process.node},
                   {"alive", process.alive},
                   {"started_unix_ms", unix_ms(process.started)},
                   {"totals", json_of_values(process.totals)}};
  Json engines = Json::array();
  for (const ProcessCounters::Engine& engine : process.engines) {
    Json entry = json_of_values(engine.values);
    entry["engine"] = engine.index;
    engines.push_back(entry);
  }
  document["engines"] = engines;
  if (interval.seconds > 0) {
    Json rates = {{"seconds", interval.seconds}};
    for (const CounterField& field : kCounterFields)
      if (!field.gauge) rates[std::string(field.name)] = interval.rate(field.counter);
    for (const TransportField& field : kTransportFields)
      if (!field.gauge) rates[std::string(field.name)] = interval.rate(field.counter);
    document["rates"] = rates;
  }
  return document;
}

std::string totals_table(const std::vector<ProcessCounters>& processes) {
  Table table({{"PID", Align::right},
               {"PROGRAM"},
               {"ENGINES", Align::right},
               {"ENDPOINTS", Align::right},
               {"CHANNELS", Align::right},
               {"SENDS", Align::right},
               {"RECEIVES", Align::right},
               {"CALLS", Align::right},
               {"REQUESTS", Align::right},
               {"FAILED", Align::right},
               {"OUT", Align::right},
               {"IN", Align::right},
               {"IN USE"}});
  for (const ProcessCounters& process : processes) {
    const CounterValues& totals = process.totals;
    const auto count = [&](Counter EngineCounters::*counter) {
      return human_count(static_cast<double>(totals.get(counter)));
    };
    const auto bytes = [&](Counter PerTransport::*counter) {
      return human_bytes(static_cast<double>(totals.total(counter)));
    };
    table.add({std::to_string(process.pid), process.program + (process.alive ? "" : " (gone)"),
               std::to_string(process.engines.size()), count(&EngineCounters::endpoints),
               count(&EngineCounters::channels), count(&EngineCounters::sends),
               count(&EngineCounters::receives), count(&EngineCounters::calls),
               count(&EngineCounters::requests), count(&EngineCounters::failed),
               bytes(&PerTransport::bytes_sent), bytes(&PerTransport::bytes_received),
               or_dash(process.transports())});
  }
  return table.text();
}

std::string rates_table(const std::vector<Interval>& processes) {
  Table table({{"PID", Align::right},
               {"PROGRAM"},
               {"SENDS/s", Align::right},
               {"RECEIVES/s", Align::right},
               {"CALLS/s", Align::right},
               {"REQUESTS/s", Align::right},
               {"FAILED/s", Align::right},
               {"OUT/s", Align::right},
               {"IN/s", Align::right},
               {"ENDPOINTS", Align::right},
               {"CHANNELS", Align::right},
               {"IN USE"}});
  for (const Interval& interval : processes) {
    const ProcessCounters& process = *interval.now;
    const auto rate = [&](auto counter) {
      return interval.seconds > 0 ? human_count(interval.rate(counter)) : std::string("-");
    };
    const auto bytes = [&](auto counter) {
      return interval.seconds > 0 ? human_bytes(interval.rate(counter)) : std::string("-");
    };
    table.add({std::to_string(process.pid), process.program + (process.alive ? "" : " (gone)"),
               rate(&EngineCounters::sends), rate(&EngineCounters::receives),
               rate(&EngineCounters::calls), rate(&EngineCounters::requests),
               rate(&EngineCounters::failed), bytes(&PerTransport::bytes_sent),
               bytes(&PerTransport::bytes_received),
               std::to_string(process.totals.get(&EngineCounters::endpoints)),
               std::to_string(process.totals.get(&EngineCounters::channels)),
               or_dash(process.transports())});
  }
  return table.text();
}

std::string details(const ProcessCounters& process) {
  std::vector<Table::Column> columns = {{"COUNTER"}, {"TOTAL", Align::right}};
  for (const ProcessCounters::Engine& engine : process.engines)
    columns.push_back({"ENGINE " + std::to_string(engine.index), Align::right});
  Table table(columns);
  const auto add = [&](const std::string& name, auto get) {
    std::vector<std::string> cells = {name, std::to_string(get(process.totals))};
    for (const ProcessCounters::Engine& engine : process.engines)
      cells.push_back(std::to_string(get(engine.values)));
    table.add(cells);
  };
  for (const CounterField& field : kCounterFields)
    add(std::string(field.name),
        [&](const CounterValues& values) { return values.get(field.counter); });
  for (const fabric::TransportKind kind : kCountedTransports) {
    // A transport that this process never used would only be noise.
    std::uint64_t sum = 0;
    for (const TransportField& field : kTransportFields)
      sum += process.totals.get(kind, field.counter);
    if (sum == 0) continue;
    for (const TransportField& field : kTransportFields)
      add(std::string(fabric::to_string(kind)) + " " + std::string(field.name),
          [&](const CounterValues& values) { return values.get(kind, field.counter); });
  }
  return printable(process.program) + ", pid " + std::to_string(process.pid) + ", process " +
         hex_number(process.process) + " of node " + printable(process.node) + ", up " +
         age_since(unix_ms(process.started)) + (process.alive ? "" : ", gone") + "\n" +
         table.text();
}

}  // namespace godwit::node::cli
