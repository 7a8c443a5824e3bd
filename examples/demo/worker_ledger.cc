// The sequence audit: a client numbers what it sends, and cuts its own connections meanwhile; the
// ledger checks that each number comes once and in order.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "../common/stop_on_signal.h"
#include "local_cluster/worker_line.h"
#include "workers.h"

namespace demo {

using namespace std::chrono_literals;
using godwit::local_cluster::WorkerLine;

namespace {

constexpr auto kPatience = 10s;
constexpr std::uint32_t kWindow = 64;
constexpr std::uint64_t kMessagesPerCall = 3;
constexpr int kAttempts = 5;  // to get onto the transport named

struct Entry {
  std::uint64_t number;  // from 1, in the order of sending; 0: the question how it stands
};

/// What the ledger saw of one client. Also the reply to the question.
struct Account {
  std::uint64_t executed = 0;
  std::uint64_t doubled = 0;  // a number that had been seen
  std::uint64_t lost = 0;     // numbers left out
  std::uint64_t last = 0;
};

void enter(Account& account, std::uint64_t number) {
  ++account.executed;
  if (number <= account.last) {
    // Late or again: with numbers in order both would be a breach, told apart by nobody.
    ++account.doubled;
    return;
  }
  account.lost += number - account.last - 1;
  account.last = number;
}

template <typename T>
godwit::Bytes bytes_of_value(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

class LedgerWriter {
 public:
  LedgerWriter(godwit::Process& process, godwit::Endpoint& me, godwit::Remote ledger)
      : process_(process), me_(me), ledger_(ledger) {}

  // Keeps the window full.
  void write_for(std::chrono::milliseconds time) {
    const std::uint64_t end = now_ns() + std::uint64_t(time.count()) * 1'000'000;
    while (now_ns() < end) write_some();
  }

  // The same until replies come over a connection again; false if they do not within 5 s.
  bool write_until_carried() {
    const std::uint64_t answered = answered_;
    const std::uint64_t limit = now_ns() + 5'000'000'000;
    while (now_ns() < limit) {
      write_some();
      if (process_.transport_to(me_, ledger_) && answered_ > answered + kWindow) return true;
    }
    return false;
  }

  unsigned cut(godwit::fabric::TransportKind next) { return process_.cut_connections(next); }

  // Waits for every reply, then asks the ledger what it saw.
  Account settle() {
    need(process_.run_until([this] { return in_flight_ == 0; }, kPatience), "last replies");
    const Entry question{0};
    const auto reply = need(me_.call(ledger_, bytes_of_value(question), kPatience), "settle");
    Account account;
    if (reply.payload().size() == sizeof account) {
      std::memcpy(&account, reply.payload().data(), sizeof account);
    }
    return account;
  }

  std::uint64_t written() const { return next_ - 1; }
  std::uint64_t calls() const { return calls_; }
  std::uint64_t answered() const { return answered_; }
  std::uint64_t errors() const { return errors_; }
  std::uint64_t longest_pause() const { return longest_pause_; }

 private:
  void write_some() {
    for (int i = 0; i < 16; ++i) {
      const Entry entry{next_};
      const bool as_call = next_ % (kMessagesPerCall + 1) == 0;
      if (!(as_call ? start_call(entry) : send(entry))) break;
      ++next_;
    }
    process_.progress();
    const std::uint64_t now = now_ns();
    if (now >= say_at_) {
      say_at_ = now + 100'000'000;
      WorkerLine("progress").with("done", written()).say();
    }
  }

  bool send(const Entry& entry) {
    const auto sent = me_.try_send(ledger_, bytes_of_value(entry));
    return accepted(sent);
  }

  bool start_call(const Entry& entry) {
    if (in_flight_ >= kWindow) return false;
    ++in_flight_;
    const auto started = me_.call_async(
        ledger_, bytes_of_value(entry),
        [this, entry](godwit::Result<godwit::Message> reply) { finish(entry, reply); }, kPatience);
    if (accepted(started)) {
      ++calls_;
      return true;
    }
    --in_flight_;
    return false;
  }

  bool accepted(const godwit::Result<void>& result) {
    if (result) return true;
    if (result.error().code != godwit::Errc::would_block) say_failed("send", result.error());
    return false;
  }

  void finish(const Entry& entry, const godwit::Result<godwit::Message>& reply) {
    --in_flight_;
    const std::uint64_t now = now_ns();
    if (last_reply_ != 0) longest_pause_ = std::max(longest_pause_, now - last_reply_);
    last_reply_ = now;
    const bool right = reply && reply->payload().size() == sizeof entry &&
                       std::memcmp(reply->payload().data(), &entry, sizeof entry) == 0;
    ++(right ? answered_ : errors_);
  }

  godwit::Process& process_;
  godwit::Endpoint& me_;
  godwit::Remote ledger_;
  std::uint64_t next_ = 1, calls_ = 0, answered_ = 0, errors_ = 0;
  std::uint32_t in_flight_ = 0;
  std::uint64_t last_reply_ = 0, longest_pause_ = 0, say_at_ = 0;
};

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    parts.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

}  // namespace

int serve_ledger(const WorkerOptions& options) {
  StopOnSignal stop;
  auto process = attach(options);
  if (!process) return 0;
  auto endpoint = need(process->bind(kLedger), "bind");
  WorkerLine("ready").say();
  std::unordered_map<godwit::EndpointId, Account, godwit::EndpointIdHash> accounts;
  while (auto message = endpoint.receive(stop.token())) {
    Account& account = accounts[message->source()];
    Entry entry{};
    if (message->payload().size() != sizeof entry) continue;
    std::memcpy(&entry, message->payload().data(), sizeof entry);
    if (entry.number != 0) enter(account, entry.number);
    if (message->kind() != godwit::Message::Kind::request) continue;
    auto request = need(endpoint.as_request(std::move(*message)), "request");
    need(entry.number == 0 ? endpoint.reply(std::move(request), bytes_of_value(account))
                           : endpoint.reply(std::move(request), bytes_of_value(entry)),
         "reply");
  }
  return 0;
}

int write_ledger(const WorkerOptions& options) {
  auto process = attach(options);
  if (!process) return 0;
  auto me = need(process->bind_anonymous(kDc), "bind");
  const auto ledger = need(me.wait_bound(kLedger, kPatience), "wait_bound");
  LedgerWriter writer(*process, me, ledger);

  const auto stops = split(options.path);
  const auto each = std::chrono::milliseconds(options.milliseconds / (stops.size() + 1));
  writer.write_for(each);
  std::string travelled = transport_name(*process, me, ledger);
  std::uint64_t cuts = 0, stuck = 0, repeated = 0;
  for (const std::string& next : stops) {
    const auto kind = need(godwit::fabric::parse_transport(next), "transport");
    // The transport named is tried first, not forced: on a busy machine another may be there
    // sooner.
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      repeated += attempt > 0 ? 1 : 0;
      cuts += writer.cut(kind);
      if (!writer.write_until_carried()) ++stuck;
      if (transport_name(*process, me, ledger) == next) break;
    }
    writer.write_for(each);
    travelled += "," + transport_name(*process, me, ledger);
  }
  const Account account = writer.settle();
  const std::uint64_t missing = writer.written() - std::min(account.last, writer.written());
  WorkerLine("result")
      .with("written", writer.written())
      .with("calls", writer.calls())
      .with("answered", writer.answered())
      .with("errors", writer.errors())
      .with("executed", account.executed)
      .with("lost", account.lost + missing)
      .with("doubled", account.doubled)
      .with("cuts", cuts)
      .with("stuck", stuck)
      .with("repeated", repeated)
      .with("pause", writer.longest_pause())
      .with("path", travelled)
      .say();
  return 0;
}

}  // namespace demo
