// The bank: a movable server whose state is a row of pages and an account for each client.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "godwit/godwit.h"
#include "godwit/movable.h"
#include "ledger.h"
#include "local_cluster/worker_line.h"
#include "options.h"
#include "protocol.h"

namespace moves {

namespace {

using namespace std::chrono_literals;
using godwit::Bytes;
using godwit::Result;
using godwit::local_cluster::read_command;
using godwit::local_cluster::WorkerLine;

constexpr std::size_t kPage = 4096;
constexpr std::uint32_t kPageRecord = 1u << 20;  // + its number
constexpr std::uint32_t kAccountsRecord = 1;
constexpr std::uint32_t kLifeRecord = 2;

[[noreturn]] void give_up(const std::string& what, const std::string& error) {
  WorkerLine("failed").with("what", what).with("error", error).say();
  std::_Exit(1);
}

/// Of one client. Format 1 of the state has only `last`.
struct Account {
  std::uint64_t last = 0;
  std::uint64_t executed = 0;
};

class Bank final : public godwit::State {
 public:
  Bank(std::uint64_t size, std::string ledgers, std::uint32_t format)
      : pages_(std::max<std::uint64_t>(size / kPage, 1)),
        ledgers_(std::move(ledgers)),
        format_(format) {
    reset();
  }

  /// Its memory begins here.
  void begin_life() {
    std::random_device random;
    life_ = std::uint64_t{random()} << 32 | random();
    open_ledger();
  }

  Answer execute(const Operation& operation) {
    if (operation.client >= kMaxClients) return {Verdict::bad, 0, operation.number, 0, life_};
    std::uint64_t& last = accounts_[operation.client].last;
    ++accounts_[operation.client].executed;
    Verdict verdict = Verdict::ok;
    if (operation.number <= last) verdict = Verdict::repeated;
    if (operation.number > last + 1) verdict = Verdict::missing;
    last = std::max(last, operation.number);
    clients_ = std::max<std::size_t>(clients_, operation.client + 1);
    if (ledger_) {
      ledger_->execute(operation.client, operation.number, tenure_, verdict == Verdict::ok);
    }
    // Every operation changes a page, as a store would.
    touch((operation.number * 2654435761u + operation.client) % pages_, operation.number);
    return {verdict, static_cast<std::uint32_t>(::getpid()), operation.number, last, life_};
  }

  /// Whether the pages say what the operations wrote.
  std::uint64_t writes() const {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < pages_; ++i) {
      std::uint64_t count;
      std::memcpy(&count, page(i), sizeof count);
      sum += count;
    }
    return sum;
  }

  std::uint64_t miscounted() const {
    return static_cast<std::uint64_t>(
        std::count_if(accounts_.begin(), accounts_.end(),
                      [](const Account& each) { return each.last != each.executed; }));
  }

  // State
  std::uint32_t version() const override { return format_; }
  void begin() override {
    changed_.assign(pages_, true);
    unsaved_.resize(pages_);
    std::iota(unsaved_.begin(), unsaved_.end(), std::uint64_t{0});
  }
  Result<void> save(godwit::StateWriter& out) override {
    while (!unsaved_.empty() && !out.full()) save_one(out);
    return {};
  }
  std::uint64_t unsaved() const override { return unsaved_.size() * kPage; }
  Result<void> save_rest(godwit::StateWriter& out) override {
    while (!unsaved_.empty()) save_one(out);
    const std::array life{life_, tenure_ + 1};
    out.put(kLifeRecord, std::as_bytes(std::span(life)));
    if (format_ == 1) {
      std::vector<std::uint64_t> numbers;
      for (std::size_t i = 0; i < clients_; ++i) numbers.push_back(accounts_[i].last);
      out.put(kAccountsRecord, std::as_bytes(std::span(numbers)));
    } else {
      out.put(kAccountsRecord, std::as_bytes(std::span(accounts_).first(clients_)));
    }
    return {};
  }
  Result<void> load(std::uint32_t version, std::uint32_t kind, Bytes record) override {
    if (version > format_) {
      return godwit::fail(godwit::Errc::version_mismatch, "another format, of a newer build");
    }
    if (kind == kLifeRecord && record.size() == sizeof life_ + sizeof tenure_) {
      std::memcpy(&life_, record.data(), sizeof life_);
      std::memcpy(&tenure_, record.data() + sizeof life_, sizeof tenure_);
      open_ledger();
      return {};
    }
    if (kind == kAccountsRecord && version == 1 &&
        record.size() <= sizeof(std::uint64_t) * kMaxClients) {
      clients_ = record.size() / sizeof(std::uint64_t);
      for (std::size_t i = 0; i < clients_; ++i) {
        std::memcpy(&accounts_[i].last, record.data() + i * sizeof(std::uint64_t),
                    sizeof(std::uint64_t));
        accounts_[i].executed = accounts_[i].last;
      }
      return {};
    }
    if (kind == kAccountsRecord && version == 2 && record.size() <= sizeof accounts_) {
      std::memcpy(accounts_.data(), record.data(), record.size());
      clients_ = record.size() / sizeof accounts_[0];
      return {};
    }
    const std::uint64_t number = kind - kPageRecord;
    if (kind < kPageRecord || number >= pages_ || record.size() != kPage) {
      return godwit::fail(godwit::Errc::invalid_argument, "a record that is none of this program");
    }
    std::memcpy(page(number), record.data(), kPage);
    return {};
  }
  void reset() override {
    memory_.assign(pages_ * kPage, std::byte{0});
    accounts_ = {};
    clients_ = 0;
    life_ = tenure_ = 0;
    ledger_.reset();
    changed_.assign(pages_, false);
    unsaved_.clear();
  }

 private:
  void open_ledger() {
    if (ledgers_.empty()) return;
    auto opened = Ledger::open(ledgers_, life_);
    if (!opened) give_up("ledger", opened.error().to_string());
    ledger_ = std::move(*opened);
  }

  std::byte* page(std::uint64_t number) { return memory_.data() + number * kPage; }
  const std::byte* page(std::uint64_t number) const { return memory_.data() + number * kPage; }

  void touch(std::uint64_t number, std::uint64_t value) {
    std::uint64_t count;
    std::memcpy(&count, page(number), sizeof count);
    ++count;
    std::memcpy(page(number), &count, sizeof count);
    std::memcpy(page(number) + 8, &value, sizeof value);
    if (!changed_[number]) {
      changed_[number] = true;
      unsaved_.push_back(number);
    }
  }
  void save_one(godwit::StateWriter& out) {
    const std::uint64_t next = unsaved_.front();
    unsaved_.pop_front();
    changed_[next] = false;
    out.put(kPageRecord + static_cast<std::uint32_t>(next), Bytes(page(next), kPage));
  }

  const std::uint64_t pages_;
  const std::string ledgers_;
  const std::uint32_t format_;
  std::uint64_t life_ = 0;
  std::uint64_t tenure_ = 0;  // how often it has moved
  std::unique_ptr<Ledger> ledger_;
  std::vector<std::byte> memory_;
  std::array<Account, kMaxClients> accounts_{};
  std::size_t clients_ = 0;
  std::vector<bool> changed_;          // since it was saved
  std::deque<std::uint64_t> unsaved_;  // the numbers of those pages
};

}  // namespace

int run_bank(const Options& options) {
  godwit::ProcessOptions process_options;
  process_options.runtime_directory = options.runtime_directory;
  process_options.program = kProgram;
  // Three banks and eight clients on few cores: whoever polls takes the time of who has work.
  process_options.spin = 0ns;
  auto process = godwit::Process::attach(process_options);
  if (!process) give_up("attach", process.error().to_string());
  Bank bank(options.state, options.ledger, options.format);
  const bool moves_here = options.stand_by || std::getenv("GODWIT_MOVE") != nullptr;
  if (!moves_here) bank.begin_life();
  auto movable = godwit::Movable::create(
      **process, {.program = kProgram, .names = {kBank}, .stand_by = options.stand_by}, &bank);
  if (!movable) give_up("movable", movable.error().to_string());
  std::uint64_t executed = 0;
  std::uint64_t arrivals = 0;
  bool said = false;
  const auto say_ready = [&] {
    if (!std::exchange(said, true)) WorkerLine("ready").say();
  };
  const auto told_to_finish = [&] {
    if (options.tester != 0) return ::kill(options.tester, 0) != 0;
    const auto command = read_command();
    return command.closed || command.line == "finish";
  };
  if (options.stand_by) say_ready();
  while (true) {
    if (told_to_finish()) break;
    // The commands are looked at now and then; a move needs no command.
    auto here = (*movable)->serve(100ms);
    if (!here) {
      if (here.error().code == godwit::Errc::deadline_exceeded) continue;
      if (here.error().code == godwit::Errc::endpoint_died) {
        // Its node was taken for lost: another life begins elsewhere.
        WorkerLine("lost").say();
        return 0;
      }
      give_up("serve", here.error().to_string());
    }
    say_ready();
    ++arrivals;
    while (true) {
      auto message = (*movable)->endpoint().receive(100ms);
      if (!message) {
        if (message.error().code == godwit::Errc::moved) break;
        if (told_to_finish()) {
          if (bank.miscounted() != 0)
            WorkerLine("broken").with("miscounted", bank.miscounted()).say();
          WorkerLine("result").with("executed", executed).with("writes", bank.writes()).say();
          return 0;
        }
        if (message.error().code == godwit::Errc::deadline_exceeded) continue;
        if (message.error().code == godwit::Errc::endpoint_died) {
          break;  // serve() says why
        }
        give_up("receive", message.error().to_string());
      }
      Operation operation{};
      if (message->payload().size() != sizeof operation) give_up("bank", "a message cut short");
      std::memcpy(&operation, message->payload().data(), sizeof operation);
      const Answer answer = bank.execute(operation);
      ++executed;
      if (answer.verdict != Verdict::ok) {
        WorkerLine("broken")
            .with("client", operation.client)
            .with("number", operation.number)
            .with("verdict", static_cast<std::uint64_t>(answer.verdict))
            .with("last", answer.total)
            .say();
      }
      if (message->kind() != godwit::Message::Kind::request) continue;
      auto request = (*movable)->endpoint().as_request(std::move(*message));
      if (!request) give_up("as_request", request.error().to_string());
      auto sent =
          (*movable)->endpoint().reply(std::move(*request), std::as_bytes(std::span(&answer, 1)));
      if (!sent) give_up("reply", sent.error().to_string());
    }
  }
  WorkerLine("result").with("executed", executed).with("arrivals", arrivals).say();
  return 0;
}

}  // namespace moves
