#include "checker.h"

#include <algorithm>
#include <map>
#include <set>

#include "intervals.h"

namespace audit {

namespace {

using Lives = std::vector<const History*>;  // the actors of one worker

class PairCheck {
 public:
  PairCheck(const History& sender, std::uint16_t receiver, const Lives& lives, Verdict& verdict)
      : sender_(sender), receiver_(receiver), lives_(lives), verdict_(verdict) {
    died_ = lives.size() > 1 || !sender.clean;
    for (const History* life : lives) died_ = died_ || !life->clean;
  }

  void run() {
    const Intervals operations = issued(Stream::issued);
    const Intervals calls = issued(Stream::issued_calls);
    const Intervals executed = check_executed(Stream::executed, operations);
    const Intervals executed_calls = check_executed(Stream::executed_calls, calls);
    Intervals refused;
    refused.add(sender_.of(Stream::refused, receiver_));
    report(Rule::broken_word, refused.common(executed), "refused but executed");
    if (!died_) {
      report(Rule::lost, operations.without(executed), "accepted but never executed");
      report(Rule::unknown_unasked, refused, "refused though nobody died");
    }
    check_outcomes(calls, executed_calls);
    verdict_.operations += operations.size();
    verdict_.executed += executed.size();
    verdict_.calls += calls.size();
    if (!operations.empty()) ++verdict_.pairs;
  }

 private:
  Intervals issued(Stream stream) {
    Intervals set;
    set.add(sender_.of(stream, receiver_));
    const bool dense = set.empty() || (set.least() == 1 && set.most() == set.size());
    if (!dense || set.doubled() > 0) broken(Rule::broken_history, 1, "issued numbers have gaps");
    return set;
  }

  // What all lives of the receiver executed; each life must have taken a gapless row, in order.
  Intervals check_executed(Stream stream, const Intervals& wanted) {
    Intervals all;
    for (const History* life : lives_) {
      const auto runs = life->of(stream, sender_.actor);
      Intervals mine;
      mine.add(runs);
      if (mine.empty()) continue;
      if (mine.doubled() > 0) {
        broken(Rule::doubled, mine.doubled(),
               "executed twice, first number " + std::to_string(*mine.first_doubled()));
      }
      report(Rule::lost, Intervals::range(mine.least(), mine.most()).without(mine),
             "left out between executed ones");
      check_order(runs, mine.doubled());
      all.add(mine);
    }
    // Doubles within one life were reported above and count once in `mine`: these are across lives.
    if (all.doubled() > 0) {
      broken(Rule::doubled, all.doubled(),
             "executed by two lives, first number " + std::to_string(*all.first_doubled()));
    }
    report(Rule::phantom, all.without(wanted), "executed but never issued");
    return all;
  }

  // A number below the highest so far is late, unless it is a repeat: those are `doubled`.
  void check_order(std::span<const Run> runs, std::uint64_t doubled) {
    std::uint64_t below = 0, highest = 0;
    for (const Run& run : runs) {
      const std::uint64_t last = run.first + run.count - 1;
      if (run.first <= highest) below += std::min(last, highest) - run.first + 1;
      highest = std::max(highest, last);
    }
    if (below > doubled) broken(Rule::reordered, below - doubled, "executed after a later one");
  }

  void check_outcomes(const Intervals& calls, const Intervals& executed) {
    Intervals ok, not_executed, unknown, any;
    ok.add(sender_.of(Stream::ok, receiver_));
    not_executed.add(sender_.of(Stream::not_executed, receiver_));
    unknown.add(sender_.of(Stream::unknown, receiver_));
    for (const Intervals* each : {&ok, &not_executed, &unknown}) any.add(*each);
    const std::uint64_t twice =
        any.doubled() + ok.doubled() + not_executed.doubled() + unknown.doubled();
    if (twice > 0) broken(Rule::outcome_twice, twice, "two outcomes of one call");
    report(Rule::broken_history, any.without(calls), "an outcome of a call never made");
    report(Rule::lost, ok.without(executed), "answered ok but never executed");
    report(Rule::broken_word, not_executed.common(executed), "told not executed, but executed");
    if (sender_.clean) report(Rule::outcome_missing, calls.without(any), "no outcome");
    if (!died_) {
      report(Rule::unknown_unasked, unknown, "outcome unknown though nobody died");
      report(Rule::unknown_unasked, not_executed, "failed though nobody died");
    }
    verdict_.ok += ok.size();
    verdict_.not_executed += not_executed.size();
    verdict_.unknown += unknown.size();
  }

  void report(Rule rule, const Intervals& numbers, const std::string& what) {
    if (numbers.empty()) return;
    broken(rule, numbers.size(), what + ", first number " + std::to_string(numbers.least()));
  }

  void broken(Rule rule, std::uint64_t count, const std::string& what) {
    verdict_.broken[static_cast<std::size_t>(rule)] += count;
    verdict_.violations.push_back({rule, "actor " + std::to_string(sender_.actor) + " to worker " +
                                             std::to_string(receiver_) + ": " +
                                             std::to_string(count) + " " + what});
  }

  const History& sender_;
  std::uint16_t receiver_;
  const Lives& lives_;
  Verdict& verdict_;
  bool died_ = false;
};

}  // namespace

std::string_view to_string(Rule rule) noexcept {
  constexpr std::array<std::string_view, kRules> kNames = {
      "lost",          "doubled",         "reordered",
      "phantom",       "broken word",     "outcome missing",
      "outcome twice", "unknown unasked", "broken history"};
  return kNames[static_cast<std::size_t>(rule)];
}

Verdict check(const std::vector<History>& histories) {
  Verdict verdict;
  std::map<std::uint16_t, Lives> workers;
  std::set<std::uint16_t> actors;
  for (const History& history : histories) {
    workers[history.worker].push_back(&history);
    if (!actors.insert(history.actor).second) {
      verdict.violations.push_back(
          {Rule::broken_history, "two histories of actor " + std::to_string(history.actor)});
    }
  }
  for (const History& sender : histories) {
    for (const auto& [receiver, lives] : workers) PairCheck(sender, receiver, lives, verdict).run();
  }
  // Whatever was executed for somebody who left no history was issued by nobody.
  for (const History& history : histories) {
    for (const auto& [key, runs] : history.runs) {
      const bool executed = key.first == Stream::executed || key.first == Stream::executed_calls;
      if (executed && !actors.contains(key.second)) {
        verdict.violations.push_back(
            {Rule::phantom,
             "executed for actor " + std::to_string(key.second) + ", who never was"});
      }
    }
  }
  return verdict;
}

}  // namespace audit
