// Counters as `stat` and `top` show them. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "cli/counters_file.h"
#include "cli/output.h"

namespace godwit::node::cli {

/// Two readings of one process.
struct Interval {
  const ProcessCounters* now = nullptr;
  CounterValues change;
  double seconds = 0;  // 0: there is no earlier reading

  double rate(Counter EngineCounters::*counter) const;
  double rate(Counter EngineCounters::PerTransport::*counter) const;
};

/// For each process of `now` what changed since it stood in `before`. Refers to `now`.
std::vector<Interval> intervals(const std::vector<ProcessCounters>& before,
                                const std::vector<ProcessCounters>& now);

/// Everything: identity, totals, each engine. With rates when the interval has an earlier reading.
Json json_of(const Interval& interval);

/// One row for each process: totals since its start, or rates.
std::string totals_table(const std::vector<ProcessCounters>& processes);
std::string rates_table(const std::vector<Interval>& processes);

/// Every counter of a process on a line of its own, a column for each engine and for the total.
std::string details(const ProcessCounters& process);

}  // namespace godwit::node::cli
