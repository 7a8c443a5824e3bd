#include "fault_play.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <utility>

namespace moves {

namespace {

using namespace std::chrono_literals;

/// How long what is broken stays so.
std::chrono::milliseconds time_of(const Fault& fault, const StageLimits& limits) {
  // Others have noticed, and what they do then is done.
  const auto missed = limits.session + limits.node_grace + 400ms;
  switch (fault.action) {
    case Action::kill:
      return 100ms;
    case Action::lose:
    case Action::stop:
      return missed;
    case Action::hold:
      break;
  }
  if (fault.deed == Deed::none) return std::max(limits.prepare, limits.blackout) + 500ms;
  return fault.deed == Deed::kill_client ? 0ms : missed;
}

const char* word_of(Action action) {
  if (action == Action::stop) return "stop";
  return action == Action::hold ? "hold" : "kill";
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

}  // namespace

FaultPlay::FaultPlay(FaultStage& stage, const FaultCase& fault_case, std::string from,
                     std::string to, std::string beside)
    : stage_(stage),
      case_(fault_case),
      from_(std::move(from)),
      to_(std::move(to)),
      beside_(std::move(beside)),
      // All that a move can take to come to a point, and to the next after what happened at one.
      reach_limit_(stage.limits().until_end()) {}

std::string FaultPlay::node_of(Part part) const {
  if (part == Part::planner) return beside_;
  return part == Part::source_process || part == Part::source_agent ? from_ : to_;
}

bool FaultPlay::is_process(Part part) const {
  return part == Part::source_process || part == Part::target_process;
}

/// Whoever plans is the one that is asked.
std::string FaultPlay::asked() const {
  for (const Fault& fault : case_.faults) {
    if (fault.point.starts_with("write.plan")) return node_of(fault.part);
  }
  return beside_;
}

Result<void> FaultPlay::lay_out(Scheduled& one) {
  const std::string node = node_of(one.fault.part);
  const std::string folder =
      is_process(one.fault.part) ? stage_.bank_faults(node) : stage_.agent_faults(node);
  one.file = folder + "/" + one.fault.point;
  for (const char* rest : {"", ".fired", ".go"}) std::remove((one.file + rest).c_str());
  const std::string draft = folder + "/draft";
  std::ofstream(draft) << word_of(one.fault.action) << "\n";
  if (std::rename(draft.c_str(), one.file.c_str()) != 0) {
    return godwit::fail_errno("cannot lay out " + one.file);
  }
  if (is_process(one.fault.part) && one.fault.action == Action::kill) {
    stage_.expect_end_of_bank(node);
  }
  return {};
}

Result<void> FaultPlay::fire(Scheduled& one) {
  one.fired = true;
  one.repair_at = Clock::now() + time_of(one.fault, stage_.limits());
  if (one.fault.deed == Deed::none) return {};
  auto done = act(one.fault.deed);
  // It goes on at once, with the deed done.
  std::ofstream(one.file + ".go") << "\n";
  return done;
}

Result<void> FaultPlay::repair(Scheduled& one) {
  one.repaired = true;
  const std::string node = node_of(one.fault.part);
  switch (one.fault.action) {
    case Action::kill:
    case Action::lose:
      // A bank is replaced when it is known which one is needed.
      if (is_process(one.fault.part)) return {};
      return stage_.cluster().restart_agent(node);
    case Action::stop:
      if (is_process(one.fault.part)) {
        stage_.signal_banks(node, SIGCONT);
      } else {
        stage_.cluster().resume_agent(node);
      }
      return {};
    case Action::hold:
      std::ofstream(one.file + ".go") << "\n";
      return undo(one.fault.deed);
  }
  return {};
}

Result<void> FaultPlay::for_node(const std::string& node, bool kills) {
  stage_.signal_banks(node, kills ? SIGKILL : SIGSTOP);
  if (kills) return stage_.cluster().kill_agent(node);
  stage_.cluster().pause_agent(node);
  return {};
}

Result<void> FaultPlay::act(Deed deed) {
  switch (deed) {
    case Deed::kill_client:
      stage_.kill_client(1);
      return {};
    case Deed::stop_client:
      stage_.conductor().crew().pause(stage_.client(1));
      return {};
    case Deed::kill_source_node:
    case Deed::stop_source_node:
      return for_node(from_, deed == Deed::kill_source_node);
    case Deed::kill_target_node:
    case Deed::stop_target_node:
      return for_node(to_, deed == Deed::kill_target_node);
    case Deed::kill_both_nodes:
      if (auto done = for_node(from_, true); !done) return done;
      return for_node(to_, true);
    case Deed::cut_forth:
      return stage_.cluster().network().cut(from_, to_);
    case Deed::cut_back:
      return stage_.cluster().network().cut(to_, from_);
    case Deed::cut_both:
      return stage_.cluster().network().cut_both(from_, to_);
    case Deed::cut_source:
      return stage_.cluster().network().isolate(from_);
    case Deed::cut_target:
      return stage_.cluster().network().isolate(to_);
    case Deed::stop_directory:
    case Deed::kill_directory:
    case Deed::stop_leader:
    case Deed::kill_leader:
      break_directory(deed);
      return {};
    case Deed::none:
      break;
  }
  return {};
}

void FaultPlay::break_directory(Deed deed) {
  auto& servers = stage_.cluster().zookeeper();
  const bool kills = deed == Deed::kill_directory || deed == Deed::kill_leader;
  const bool one = deed == Deed::stop_leader || deed == Deed::kill_leader;
  const auto leader = servers.leader();
  for (std::size_t i = 0; i < servers.size(); ++i) {
    if (one && leader != i) continue;
    kills ? servers.kill(i) : servers.pause(i);
  }
}

Result<void> FaultPlay::mend_directory() {
  auto& servers = stage_.cluster().zookeeper();
  for (std::size_t i = 0; i < servers.size(); ++i) {
    servers.resume(i);
    if (servers.server(i).running()) continue;
    if (auto started = servers.restart(i); !started) return started;
  }
  return servers.wait_serving();
}

Result<void> FaultPlay::undo(Deed deed) {
  const auto resume = [this](const std::string& node) -> Result<void> {
    stage_.cluster().resume_agent(node);
    stage_.signal_banks(node, SIGCONT);
    return {};
  };
  switch (deed) {
    case Deed::stop_client:
      stage_.conductor().crew().resume(stage_.client(1));
      return {};
    case Deed::kill_source_node:
      return stage_.cluster().restart_agent(from_);
    case Deed::kill_target_node:
      return stage_.cluster().restart_agent(to_);
    case Deed::stop_source_node:
      return resume(from_);
    case Deed::stop_target_node:
      return resume(to_);
    case Deed::kill_both_nodes:
      if (auto done = stage_.cluster().restart_agent(from_); !done) return done;
      return stage_.cluster().restart_agent(to_);
    case Deed::cut_forth:
    case Deed::cut_back:
    case Deed::cut_both:
    case Deed::cut_source:
    case Deed::cut_target:
      return stage_.cluster().network().heal_all();
    case Deed::stop_directory:
    case Deed::kill_directory:
    case Deed::stop_leader:
    case Deed::kill_leader:
      return mend_directory();
    case Deed::kill_client:
    case Deed::none:
      break;
  }
  return {};
}

Result<void> FaultPlay::run() {
  for (const Fault& fault : case_.faults) {
    faults_.push_back({fault, {}});
    if (auto laid = lay_out(faults_.back()); !laid) return laid;
  }
  auto command =
      stage_.conductor().command_line().start(asked(), {"migrate", kBank, to_, "--json"});
  if (!command) return tl::make_unexpected(command.error());
  const auto limit = Clock::now() + reach_limit_;
  while (true) {
    const auto fired = [](const Scheduled& one) {
      return !one.fired && exists(one.file + ".fired");
    };
    const auto due = [](const Scheduled& one) {
      return one.fired && !one.repaired && Clock::now() >= one.repair_at;
    };
    auto heard = stage_.conductor().crew().run_until(
        [&] {
          return Clock::now() > limit || std::any_of(faults_.begin(), faults_.end(), fired) ||
                 std::any_of(faults_.begin(), faults_.end(), due) ||
                 (faults_.empty() && command->ended());
        },
        reach_limit_ + 10s);
    if (!heard) return heard;
    for (Scheduled& one : faults_) {
      if (fired(one)) {
        if (auto done = fire(one); !done) return done;
      }
      if (due(one)) {
        if (auto done = repair(one); !done) return done;
      }
    }
    const auto open = std::find_if(faults_.begin(), faults_.end(),
                                   [](const Scheduled& one) { return !one.repaired; });
    if (open == faults_.end()) break;
    if (Clock::now() <= limit || open->fired) continue;
    std::remove(open->file.c_str());
    std::string said;
    while (auto line = command->next_line()) said += *line + "\n";
    return godwit::fail(godwit::Errc::not_found, std::string(to_string(open->fault.part)) +
                                                     " never came to " + open->fault.point + "\n" +
                                                     said);
  }
  // Its connection may be with an agent that was killed, or hang with one that was stopped.
  command->stop(100ms);
  return {};
}

}  // namespace moves
