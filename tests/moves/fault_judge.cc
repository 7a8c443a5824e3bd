// FaultStage: what the ledgers and the clients prove.
#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "fault_stage.h"

namespace moves {

using godwit::local_cluster::WorkerLine;

namespace {
constexpr std::size_t kMostWords = 5;
}

Ledger* FaultStage::ledger(std::uint64_t life) {
  auto& kept = ledgers_[life];
  if (kept == nullptr) {
    auto opened = Ledger::open(ledger_folder(), life);
    if (opened) kept = std::move(*opened);
  }
  return kept.get();
}

void FaultStage::judge_ledgers(std::vector<std::string>& evidence) {
  for (const std::uint64_t life : Ledger::lives(ledger_folder())) {
    const Ledger* book = ledger(life);
    if (book == nullptr) continue;
    auto& [unsound, outdated] = judged_faults_[life];
    if (const auto now = book->unsound(); now > std::exchange(unsound, now)) {
      evidence.push_back("operations reached the bank again, or out of order: " +
                         std::to_string(now));
    }
    if (const auto now = book->outdated(); now > std::exchange(outdated, now)) {
      evidence.push_back("an old copy of the bank served beside the new one: " +
                         std::to_string(now) + " operations");
    }
    for (std::uint32_t client = 0; client < kMaxClients; ++client) {
      const Ledger::Account account = book->account(client);
      if (account.executed == account.last || !doubled_.insert({life, client}).second) continue;
      evidence.push_back("of client " + std::to_string(client) + " operations up to " +
                         std::to_string(account.last) + " were executed, but " +
                         std::to_string(account.executed) + " times");
    }
  }
}

/// What a client was told when the bank died, beside what was executed in that life.
void FaultStage::judge_death(const WorkerLine& death, std::vector<std::string>& evidence) {
  const std::uint64_t life = death.number("life");
  if (life == 0) return;
  const Ledger* book = ledger(life);
  if (book == nullptr) return;
  const auto account = book->account(static_cast<std::uint32_t>(death.number("client")));
  const std::uint64_t number = death.number("number");
  if (account.last < death.number("acknowledged")) {
    evidence.push_back("answered, but not executed: " + death.to_string());
  }
  if (account.last > number) {
    evidence.push_back("executed, but never asked for: " + death.to_string());
  }
  const bool denied = death.text("what") == "call" && death.text("outcome") == "not_executed";
  if (denied && account.last >= number) {
    evidence.push_back("said not to be executed, but it was: " + death.to_string());
  }
}

void FaultStage::judge_clients(bool nodes_may_be_lost, std::vector<std::string>& evidence) {
  for (const auto* group : {&clients_, &former_clients_}) {
    for (const Worker* client : *group) {
      std::size_t& judged = judged_[client];
      for (; judged < client->lines.size(); ++judged) {
        const WorkerLine& line = client->lines[judged];
        if (line.what() == "broken")
          evidence.push_back("a client was answered " + line.to_string());
        if (line.what() == "died") judge_death(line, evidence);
        if (line.what() == "outlived" && !nodes_may_be_lost) {
          evidence.push_back("a client was told of a death that was none: " + line.to_string());
        }
      }
    }
  }
}

void FaultStage::print_words() const {
  for (const auto* group : {&clients_, &former_clients_}) {
    for (const Worker* client : *group) {
      std::vector<const WorkerLine*> words;
      for (const WorkerLine& line : client->lines) {
        if (line.what() != "ready" && line.what() != "result") words.push_back(&line);
      }
      // The last tell most.
      for (std::size_t i = words.size() - std::min(words.size(), kMostWords); i < words.size();
           ++i) {
        std::printf("client on %s: %s\n", client->node.c_str(), words[i]->to_string().c_str());
      }
    }
  }
}

std::vector<std::string> FaultStage::new_evidence(bool nodes_may_be_lost) {
  std::vector<std::string> evidence;
  judge_ledgers(evidence);
  judge_clients(nodes_may_be_lost, evidence);
  return evidence;
}

}  // namespace moves
