#include "fault_stage.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

namespace moves {

namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;
using godwit::local_cluster::TemporaryDirectory;

// A process that was started for a move and is not needed gets SIGTERM, and SIGKILL 2 s later.
constexpr auto kLeftoverLimit = 2s + kSlack;
constexpr auto kPause = 20ms;
// Beside what they had at the beginning: for connections that are being made or given up.
constexpr std::size_t kMoreDescriptors = 40;

}  // namespace

FaultStage::FaultStage(const Options& options, Setup setup, Cluster cluster,
                       TemporaryDirectory folder)
    : options_(options),
      setup_(std::move(setup)),
      limits_(StageLimits::of(setup_.ground)),
      folder_(std::move(folder)),
      cluster_(std::move(cluster)),
      conductor_(options, cluster_) {}

FaultStage::~FaultStage() {
  // The crew ends its own; those of the agents are nobody's.
  for (const BankProcess& bank : find_banks(ledger_folder())) ::kill(bank.pid, SIGKILL);
}

Result<void> FaultStage::add_bank(const std::string& node, bool stand_by) {
  const std::string faults = folder_.file("bank." + std::to_string(banks_started_++));
  std::filesystem::create_directory(faults);
  auto bank = conductor_.start_bank(
      node, stand_by, {"--ledger", ledger_folder()},
      {{"GODWIT_FAULT_FOLDER", faults}, {"GODWIT_PLANTED_FAULT", setup_.planted}});
  if (!bank) return tl::make_unexpected(bank.error());
  banks_[node] = *bank;
  bank_faults_[node] = faults;
  known_banks_.insert((*bank)->process.pid());
  return {};
}

Result<void> FaultStage::add_client(const std::string& node) {
  auto client = conductor_.start_client(node, {"--may-die", "--think", "300"});
  if (!client) return tl::make_unexpected(client.error());
  clients_.push_back(*client);
  return {};
}

void FaultStage::kill_client(std::size_t index) {
  Worker*& client = clients_[index % clients_.size()];
  conductor_.crew().kill(*client);
  former_clients_.push_back(client);
  clients_.erase(clients_.begin() + static_cast<std::ptrdiff_t>(index % clients_.size()));
}

std::string FaultStage::agent_faults(const std::string& node) const {
  return folder_.file("agent." + node);
}

std::string FaultStage::bank_faults(const std::string& node) const {
  const auto found = bank_faults_.find(node);
  return found == bank_faults_.end() ? agent_faults(node) : found->second;
}

void FaultStage::expect_end_of_bank(const std::string& node) {
  if (banks_.contains(node)) banks_[node]->dismissed = true;
}

void FaultStage::signal_banks(const std::string& node, int number) {
  if (number == SIGKILL) expect_end_of_bank(node);
  for (const BankProcess& bank : find_banks(ledger_folder())) {
    if (bank.node == node) ::kill(bank.pid, number);
  }
}

void FaultStage::remember_banks() {
  for (const BankProcess& bank : find_banks(ledger_folder())) known_banks_.insert(bank.pid);
}

bool FaultStage::is_alive(pid_t pid) const {
  for (const BankProcess& bank : find_banks(ledger_folder())) {
    if (bank.pid == pid) return true;
  }
  return false;
}

// --- What the directory says ---------------------------------------------------------------------

Result<Json> FaultStage::ask(const std::vector<std::string>& arguments) {
  const auto limit = Clock::now() + limits_.until_served();
  while (true) {
    auto answer = conductor_.command_line().run(cluster_.nodes().front(), arguments);
    if (answer) return Json::parse(*answer, nullptr, false);
    const bool may_pass = answer.error().code == godwit::Errc::agent_unavailable;
    if (!may_pass || Clock::now() > limit) return tl::make_unexpected(answer.error());
  }
}

Result<std::optional<FaultStage::Owner>> FaultStage::owner() {
  const auto document = ask({"ls", kDc, "--prefix", kBank, "--json"});
  if (!document) return tl::make_unexpected(document.error());
  for (const Json& each : document->value("endpoints", Json::array())) {
    if (each.value("name", "") != kBank) continue;
    return Owner{each.value("node", ""), each.value("pid", 0), each.value("state", ""),
                 each.value("epoch", 0u)};
  }
  return std::optional<Owner>();
}

Result<FaultStage::Move> FaultStage::last_move() {
  const auto document = ask({"migrations", "--past", "1", "--json"});
  if (!document) return tl::make_unexpected(document.error());
  Move move;
  for (const Json& each : document->value("migrations", Json::array())) {
    move = {each.value("id", ""), each.value("state", ""), ""};
    if (each["abort_reason"].is_string()) move.reason = each["abort_reason"];
    if (move.state != "committed" && move.state != "aborted") break;  // one under way
  }
  return move;
}

// --- Until it is quiet ---------------------------------------------------------------------------

Result<void> FaultStage::wait_for_moves(Clock::time_point limit) {
  while (true) {
    const auto document = ask({"migrations", "--json"});
    if (!document) return tl::make_unexpected(document.error());
    const Json moves = document->value("migrations", Json::array());
    if (moves.empty()) return {};
    if (Clock::now() > limit) {
      return godwit::fail(godwit::Errc::deadline_exceeded,
                          "the record of the move does not end: " + moves.front().dump());
    }
  }
}

Result<FaultStage::Owner> FaultStage::wait_for_owner(bool may_rebind, Clock::time_point limit) {
  std::string is = "is bound by nobody";
  while (Clock::now() < limit) {
    auto found = owner();
    if (!found) return tl::make_unexpected(found.error());
    if (*found) {
      const Owner& owner = **found;
      if (owner.state == "serving" && is_alive(owner.pid)) return owner;
      is = "is " + owner.state + " at " + owner.node + ", process " + std::to_string(owner.pid) +
           (is_alive(owner.pid) ? "" : ", which is dead");
    } else if (!may_rebind) {
      is = "is lost, though no process of it was killed";
      break;
    } else {
      // The memory is lost. The next life begins where no process is left, or on the first node.
      std::string node = cluster_.nodes().front();
      for (const auto& [name, bank] : banks_) {
        if (!is_alive(bank->process.pid())) node = name;
      }
      signal_banks(node, SIGKILL);
      if (auto added = add_bank(node, false); !added) return tl::make_unexpected(added.error());
    }
  }
  return godwit::fail(godwit::Errc::deadline_exceeded, std::string(kBank) + " " + is);
}

Result<void> FaultStage::wait_for_clients(Clock::time_point limit) {
  std::map<const Worker*, std::uint64_t> before;
  for (const Worker* each : clients_) before[each] = each->progress;
  const auto behind = [&]() -> const Worker* {
    for (const Worker* each : clients_) {
      // The first line may tell of what was done before.
      if (each->progress < before[each] + 2) return each;
    }
    return nullptr;
  };
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(limit - Clock::now());
  auto waited = conductor_.crew().run_until([&] { return behind() == nullptr; }, left);
  if (waited || waited.error().code != godwit::Errc::deadline_exceeded) return waited;
  const Worker* late = behind();
  std::size_t count = 0;
  for (const Worker* each : clients_) count += each->progress < before[each] + 2 ? 1 : 0;
  return godwit::fail(godwit::Errc::deadline_exceeded,
                      "the bank does not answer " + std::to_string(count) + " of " +
                          std::to_string(clients_.size()) + " clients, one of them on " +
                          (late != nullptr ? late->node : "?"));
}

Result<void> FaultStage::wait_for_leftovers(const Owner& owner) {
  const auto limit = Clock::now() + kLeftoverLimit;
  while (true) {
    std::string left;
    for (const BankProcess& bank : find_banks(ledger_folder())) {
      const bool may_stay = bank.pid == owner.pid || known_banks_.contains(bank.pid);
      if (!may_stay) left += " " + std::to_string(bank.pid) + " on " + bank.node;
    }
    if (left.empty()) return {};
    if (Clock::now() > limit) {
      return godwit::fail(godwit::Errc::deadline_exceeded, "processes are left over:" + left);
    }
    auto waited = conductor_.crew().run_until(
        [until = Clock::now() + kPause] { return Clock::now() > until; }, kPause * 10);
    if (!waited) return waited;
  }
}

Result<void> FaultStage::make_standbys(const Owner& owner) {
  if (setup_.ground == Ground::started) {
    // What has left stands by now; the next move is to start its own.
    for (const std::string& node : cluster_.nodes()) {
      if (node == owner.node) continue;
      signal_banks(node, SIGKILL);
      banks_.erase(node);
      bank_faults_.erase(node);
    }
    return {};
  }
  for (const std::string& node : cluster_.nodes()) {
    const auto bank = banks_.find(node);
    if (bank != banks_.end() && is_alive(bank->second->process.pid())) continue;
    if (auto added = add_bank(node, true); !added) return added;
  }
  return conductor_.command_line().wait_for_standbys(cluster_.nodes().front(), owner.node, kProgram,
                                                     limits_.until_served());
}

Result<void> FaultStage::settle(bool may_rebind) {
  if (auto ended = wait_for_moves(Clock::now() + limits_.until_end()); !ended) return ended;
  const auto limit = Clock::now() + limits_.until_served();
  auto owner = wait_for_owner(may_rebind, limit);
  if (!owner) return tl::make_unexpected(owner.error());
  if (auto gone_on = wait_for_clients(limit); !gone_on) return gone_on;
  if (auto clean = wait_for_leftovers(*owner); !clean) return clean;
  for (std::size_t i = clients_.size(); i < options_.clients; ++i) {
    if (auto added = add_client(cluster_.nodes()[i % cluster_.nodes().size()]); !added) {
      return added;
    }
  }
  if (descriptors_ == 0) descriptors_ = descriptors();
  return make_standbys(*owner);
}

std::size_t FaultStage::descriptors() {
  std::size_t most = 0;
  for (const Worker* each : clients_) most = std::max(most, open_descriptors(each->process.pid()));
  for (const std::string& node : cluster_.nodes()) {
    most = std::max(most, open_descriptors(cluster_.agent(node).pid()));
  }
  return most;
}

Result<void> FaultStage::finish() {
  if (const std::size_t now = descriptors(); now > descriptors_ + kMoreDescriptors) {
    return godwit::fail(godwit::Errc::no_space,
                        "a process has " + std::to_string(now) + " descriptors open, and had " +
                            std::to_string(descriptors_) + " before all the cases");
  }
  for (Worker* each : clients_) each->process.write_line("finish");
  auto said = conductor_.crew().run_until(
      [&] {
        for (const Worker* each : clients_) {
          if (each->find("result") == nullptr) return false;
        }
        return true;
      },
      limits_.until_served());
  if (!said) return said;
  for (const std::string& node : cluster_.nodes()) signal_banks(node, SIGKILL);
  std::string unclean;
  for (const std::string& each : cluster_.stop()) unclean += " " + each;
  if (unclean.empty()) return {};
  return godwit::fail(godwit::Errc::system, "agents did not end cleanly:" + unclean);
}

}  // namespace moves
