#include "fault_case.h"

#include <algorithm>
#include <array>
#include <utility>

namespace moves {

namespace {

constexpr std::array kParts = {
    std::pair("source.process", Part::source_process),
    std::pair("target.process", Part::target_process),
    std::pair("source.agent", Part::source_agent),
    std::pair("target.agent", Part::target_agent),
    std::pair("planner", Part::planner),
};
constexpr std::array kActions = {
    std::pair("kill", Action::kill),
    std::pair("lose", Action::lose),
    std::pair("stop", Action::stop),
    std::pair("hold", Action::hold),
};
constexpr std::array kGrounds = {
    std::pair("plain", Ground::plain),       std::pair("started", Ground::started),
    std::pair("network", Ground::network),   std::pair("zookeeper", Ground::zookeeper),
    std::pair("ensemble", Ground::ensemble),
};
constexpr std::array kDeeds = {
    std::pair("kill.client", Deed::kill_client),
    std::pair("stop.client", Deed::stop_client),
    std::pair("kill.source.node", Deed::kill_source_node),
    std::pair("stop.source.node", Deed::stop_source_node),
    std::pair("kill.target.node", Deed::kill_target_node),
    std::pair("stop.target.node", Deed::stop_target_node),
    std::pair("kill.both.nodes", Deed::kill_both_nodes),
    std::pair("cut.forth", Deed::cut_forth),
    std::pair("cut.back", Deed::cut_back),
    std::pair("cut.both", Deed::cut_both),
    std::pair("cut.source", Deed::cut_source),
    std::pair("cut.target", Deed::cut_target),
    std::pair("stop.directory", Deed::stop_directory),
    std::pair("kill.directory", Deed::kill_directory),
    std::pair("stop.leader", Deed::stop_leader),
    std::pair("kill.leader", Deed::kill_leader),
};

template <typename Table, typename Value>
const char* name_in(const Table& table, Value value) {
  for (const auto& [name, each] : table) {
    if (each == value) return name;
  }
  return "?";
}

template <typename Table, typename Value>
bool value_in(const Table& table, std::string_view name, Value& value) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const auto& each) { return each.first == name; });
  if (found == table.end()) return false;
  value = found->second;
  return true;
}

/// The part of `text` before `mark`, which is taken off with the mark.
std::string_view take_until(std::string_view& text, char mark) {
  const auto at = text.find(mark);
  const std::string_view head = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return head;
}

bool is_agent(Part part) {
  return part == Part::source_agent || part == Part::target_agent || part == Part::planner;
}

}  // namespace

const char* to_string(Part part) noexcept {
  return name_in(kParts, part);
}

const char* to_string(Ground ground) noexcept {
  return name_in(kGrounds, ground);
}

std::string FaultCase::name() const {
  std::string text = ground == Ground::plain ? "" : std::string(to_string(ground)) + "/";
  for (const Fault& fault : faults) {
    if (&fault != &faults.front()) text += "+";
    text += std::string(to_string(fault.part)) + ":" + fault.point + ":" +
            name_in(kActions, fault.action);
    if (fault.deed != Deed::none) text += std::string("/") + name_in(kDeeds, fault.deed);
  }
  return text;
}

bool FaultCase::may_lose_memory() const {
  return may_lose_nodes() || std::any_of(faults.begin(), faults.end(), [](const Fault& fault) {
           const bool dies = fault.action == Action::kill || fault.action == Action::lose;
           return (dies && !is_agent(fault.part)) || fault.deed == Deed::kill_source_node ||
                  fault.deed == Deed::kill_target_node || fault.deed == Deed::kill_both_nodes;
         });
}

bool FaultCase::may_lose_nodes() const {
  // One that can reach neither the directory nor the others for long.
  return ground == Ground::ensemble &&
         std::any_of(faults.begin(), faults.end(), [](const Fault& fault) {
           return fault.deed == Deed::cut_source || fault.deed == Deed::cut_target;
         });
}

bool FaultCase::decisive() const {
  return ground == Ground::plain && faults.size() == 1 && faults.front().action == Action::kill &&
         (faults.front().point.starts_with("write.intent") ||
          faults.front().point.starts_with("write.commit"));
}

godwit::Result<FaultCase> parse_fault_case(std::string_view name) {
  const auto bad = [&](std::string_view why) {
    return godwit::fail(godwit::Errc::invalid_argument,
                        "'" + std::string(name) + "' is no fault case: " + std::string(why) +
                            "; write PART:POINT:ACTION, as --list-faults shows them");
  };
  FaultCase result;
  std::string_view rest = name;
  // Deeds stand behind a slash, too, but after a colon.
  const auto slash = rest.find('/');
  if (slash < rest.find(':')) {
    if (!value_in(kGrounds, take_until(rest, '/'), result.ground)) return bad("an unknown ground");
  }
  while (!rest.empty()) {
    std::string_view one = take_until(rest, '+');
    Fault fault;
    if (!value_in(kParts, take_until(one, ':'), fault.part)) return bad("an unknown part");
    fault.point = take_until(one, ':');
    if (fault.point.empty()) return bad("no point");
    if (!value_in(kActions, take_until(one, '/'), fault.action)) return bad("an unknown action");
    if (!one.empty() && !value_in(kDeeds, one, fault.deed)) return bad("an unknown deed");
    result.faults.push_back(std::move(fault));
  }
  if (result.faults.empty()) return bad("it is empty");
  return result;
}

namespace {

class Table {
 public:
  using Points = std::vector<const char*>;

  /// Each action at each point of the part, after `first` has happened.
  void add(Part part, const Points& points, const std::vector<Action>& actions,
           const std::vector<Fault>& first = {}, Ground ground = Ground::plain) {
    for (const char* point : points) {
      for (const Action action : actions) {
        FaultCase one{ground, first};
        one.faults.push_back({part, point, action});
        cases_.push_back(std::move(one));
      }
    }
  }
  void add_deeds(Part part, const Points& points, const std::vector<Deed>& deeds,
                 Ground ground = Ground::plain) {
    for (const char* point : points) {
      for (const Deed deed : deeds) {
        cases_.push_back({ground, {{part, point, Action::hold, deed}}});
      }
    }
  }
  std::vector<FaultCase> take() { return std::move(cases_); }

 private:
  std::vector<FaultCase> cases_;
};

}  // namespace

std::vector<FaultCase> all_fault_cases() {
  const std::vector<Action> of_agent = {Action::kill, Action::lose, Action::stop};
  const std::vector<Action> of_process = {Action::kill, Action::stop};
  const Table::Points plan = {"write.plan.before", "write.plan.after"};
  const Table::Points source_agent = {"push.out", "write.intent.before", "write.intent.after",
                                      "push.close", "push.gone"};
  const Table::Points target_agent = {"push.in",
                                      "write.prepared.before",
                                      "write.prepared.after",
                                      "write.commit.before",
                                      "write.commit.after",
                                      "push.go"};
  const Table::Points source_process = {"order.out",   "copy.round", "report.converged",
                                        "order.close", "rest.half",  "rest.sent",
                                        "order.gone",  "report.over"};
  const Table::Points target_process = {"order.in",        "report.docked", "state.loaded",
                                        "report.restored", "order.go",      "gate.opened",
                                        "report.over"};
  Table table;
  table.add(Part::planner, plan, of_agent);
  table.add(Part::source_agent, plan, of_agent);
  table.add(Part::source_agent, source_agent, of_agent);
  table.add(Part::target_agent, plan, of_agent);
  table.add(Part::target_agent, target_agent, of_agent);
  table.add(Part::source_process, source_process, of_process);
  table.add(Part::target_process, target_process, of_process);

  // Aborts, before the intent and after it, by either agent.
  const Table::Points abort = {"write.abort.before", "write.abort.after"};
  const Fault target_gone_early{Part::target_agent, "push.in", Action::lose};
  const Fault target_gone_late{Part::target_agent, "write.commit.before", Action::lose};
  const Fault no_process_early{Part::target_process, "order.in", Action::kill};
  const Fault no_process_late{Part::target_process, "report.restored", Action::kill};
  const Fault too_late{Part::target_agent, "write.commit.before", Action::hold};
  table.add(Part::source_agent, abort, of_agent, {target_gone_early});
  table.add(Part::source_agent, abort, of_agent, {target_gone_late});
  table.add(Part::target_agent, abort, of_agent, {no_process_early});
  table.add(Part::target_agent, abort, of_agent, {no_process_late});
  // The source's agent may not even see a move that the target's ends so early.
  table.add(Part::source_agent, {"push.resume"}, of_agent, {target_gone_early});
  table.add(Part::source_agent, {"push.resume"}, of_agent, {no_process_late});
  table.add(Part::source_process, {"order.resume", "report.over"}, of_process, {target_gone_early});
  table.add(Part::source_process, {"order.resume", "gate.opened", "report.over"}, of_process,
            {no_process_late});
  table.add(Part::target_agent, {"push.drop"}, of_agent, {too_late});
  table.add(Part::target_process, {"order.drop", "report.over"}, of_process, {too_late});

  // More than one part at a time, and the clients.
  const std::vector<Deed> clients = {Deed::kill_client, Deed::stop_client};
  const std::vector<Deed> nodes = {Deed::kill_source_node, Deed::stop_source_node,
                                   Deed::kill_target_node, Deed::stop_target_node};
  table.add_deeds(Part::source_process, {"copy.round", "order.close", "rest.sent"}, clients);
  table.add_deeds(Part::target_process, {"state.loaded", "report.restored", "gate.opened"},
                  clients);
  table.add_deeds(Part::source_process, {"copy.round", "rest.half"}, nodes);
  table.add_deeds(Part::target_agent, {"write.commit.before", "write.commit.after"}, nodes);
  table.add_deeds(Part::source_process, {"copy.round", "rest.sent"}, {Deed::kill_both_nodes});

  // A process that the target's agent has started.
  table.add(Part::target_process, target_process, of_process, {}, Ground::started);
  table.add(Part::target_agent, target_agent, of_agent, {}, Ground::started);
  table.add(Part::source_agent, {"write.intent.after"}, {Action::lose}, {}, Ground::started);
  table.add(Part::source_agent, {"push.resume"}, {Action::kill}, {no_process_late},
            Ground::started);
  table.add(Part::target_agent, {"push.drop"}, of_agent, {too_late}, Ground::started);

  // Links that are cut: what is on its way is lost without a word.
  const std::vector<Deed> links = {Deed::cut_forth, Deed::cut_back, Deed::cut_both};
  const std::vector<Deed> ends = {Deed::cut_source, Deed::cut_target};
  for (const auto* deeds : {&links, &ends}) {
    table.add_deeds(Part::source_process, {"copy.round", "report.converged", "rest.half"}, *deeds,
                    Ground::network);
    table.add_deeds(Part::target_process, {"report.restored", "gate.opened"}, *deeds,
                    Ground::network);
  }

  // The directory goes away before a write and after it.
  const std::vector<Deed> directory = {Deed::stop_directory, Deed::kill_directory};
  table.add_deeds(Part::planner, {"write.plan.before"}, directory, Ground::zookeeper);
  table.add_deeds(Part::target_agent,
                  {"write.prepared.before", "write.commit.before", "write.commit.after"}, directory,
                  Ground::zookeeper);
  table.add_deeds(Part::source_agent, {"write.intent.before", "write.intent.after"}, directory,
                  Ground::zookeeper);
  table.add(Part::source_agent, {"write.intent.after"}, of_agent, {}, Ground::zookeeper);
  table.add(Part::target_agent, {"write.commit.before", "write.commit.after"}, of_agent, {},
            Ground::zookeeper);
  const std::vector<Deed> leader = {Deed::stop_leader, Deed::kill_leader};
  table.add_deeds(Part::source_agent, {"write.intent.before"}, leader, Ground::ensemble);
  table.add_deeds(Part::target_agent, {"write.commit.before"}, leader, Ground::ensemble);
  table.add_deeds(Part::source_agent, {"write.intent.after"}, ends, Ground::ensemble);
  table.add_deeds(Part::target_agent, {"write.commit.before", "write.commit.after"}, ends,
                  Ground::ensemble);
  return table.take();
}

}  // namespace moves
