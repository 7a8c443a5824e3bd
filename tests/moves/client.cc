// A client: calls and sends without a pause, knows nothing of moves, and measures how long the
// bank was away whenever another process answers than before. Told that it may, it survives a bank
// that dies, and says what it was told of the operations under way then.
#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "godwit/godwit.h"
#include "ledger.h"
#include "local_cluster/worker_line.h"
#include "options.h"
#include "protocol.h"

namespace moves {

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::read_command;
using godwit::local_cluster::WorkerLine;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = 30s;
// Above every index of a client that may die.
constexpr std::uint32_t kAccountStride = 64;

[[noreturn]] void give_up(const std::string& what, const std::string& error) {
  WorkerLine("failed").with("what", what).with("error", error).say();
  std::_Exit(1);
}

std::uint64_t ns(Clock::duration time) {
  return static_cast<std::uint64_t>(time.count());
}

class Client {
 public:
  Client(const Options& options, godwit::Process& process, godwit::Endpoint me, godwit::Remote bank)
      : options_(options),
        process_(process),
        me_(std::move(me)),
        bank_(bank),
        account_(options.index) {}

  void run();

 private:
  void send();
  void call();
  void take(const Answer& answer, Clock::time_point before);
  void mourn(const char* what, const godwit::Error& error);
  void say_result();

  const Options& options_;
  godwit::Process& process_;
  godwit::Endpoint me_;
  godwit::Remote bank_;
  std::uint32_t account_;           // at the bank
  std::uint64_t life_ = 0;          // of the bank; 0: it has not answered yet
  std::uint64_t number_ = 0;        // in this life
  std::uint64_t acknowledged_ = 0;  // answered, in this life
  std::uint64_t done_ = 0;          // in all
  std::uint64_t calls_ = 0;
  std::uint32_t place_ = 0;
  Clock::time_point last_reply_{};
  std::vector<std::uint64_t> blackouts_;  // ns
  std::uint64_t slowest_ = 0;             // ns, of a call answered by the place before
};

/// The bank is gone with its memory: only a client that was told so goes on with the next one. Or
/// it was the client itself that was taken for lost, with its node: so it begins as another client.
void Client::mourn(const char* what, const godwit::Error& error) {
  if (!options_.may_die || error.code != godwit::Errc::endpoint_died) {
    give_up(what, error.to_string());
  }
  const bool executed = error.outcome != godwit::Outcome::not_executed;
  WorkerLine("died")
      .with("what", what)
      .with("client", account_)
      .with("life", acknowledged_ == 0 ? 0 : life_)  // 0: it has not answered, whichever it was
      .with("number", number_)
      .with("acknowledged", acknowledged_)
      .with("outcome", executed ? "unknown" : "not_executed")
      .with("error", error.to_string())
      .say();
  // The agent may be on its way back.
  const auto limit = Clock::now() + kPatience;
  while (true) {
    auto me = process_.bind_anonymous(kDc, kPatience);
    auto next = me ? me->wait_bound(options_.to, kPatience)
                   : godwit::Result<godwit::Remote>(tl::make_unexpected(me.error()));
    if (next) {
      me_ = std::move(*me);
      bank_ = *next;
      break;
    }
    if (Clock::now() > limit) give_up("wait_bound", next.error().to_string());
  }
  number_ = acknowledged_ = 0;
  account_ = (account_ + kAccountStride) % kMaxClients;
}

void Client::send() {
  Operation operation{account_, 0, number_};
  auto sent = me_.send(bank_, std::as_bytes(std::span(&operation, 1)), kPatience);
  if (!sent) return mourn("send", sent.error());
  ++done_;
}

void Client::call() {
  Operation operation{account_, 0, number_};
  const auto before = Clock::now();
  auto reply = me_.call(bank_, std::as_bytes(std::span(&operation, 1)), kPatience);
  if (!reply) return mourn("call", reply.error());
  Answer answer{};
  if (reply->payload().size() != sizeof answer) give_up("call", "a reply cut short");
  std::memcpy(&answer, reply->payload().data(), sizeof answer);
  take(answer, before);
}

void Client::take(const Answer& answer, Clock::time_point before) {
  const auto now = Clock::now();
  const bool in_order =
      answer.verdict == Verdict::ok && answer.number == number_ && answer.total == number_;
  const bool first = number_ == 1;
  if (first && answer.life == life_) {
    WorkerLine("outlived").with("client", account_).with("life", life_).say();
  }
  if (!in_order || (!first && answer.life != life_)) {
    WorkerLine("broken")
        .with("client", account_)
        .with("number", number_)
        .with("answered", answer.number)
        .with("total", answer.total)
        .with("verdict", static_cast<std::uint64_t>(answer.verdict))
        .with("life", life_)
        .with("answered_life", answer.life)
        .say();
  }
  life_ = answer.life;
  acknowledged_ = number_;
  ++calls_;
  ++done_;
  if (place_ != 0 && answer.place != place_) {
    blackouts_.push_back(ns(now - last_reply_));
  } else {
    slowest_ = std::max(slowest_, ns(now - before));
  }
  place_ = answer.place;
  last_reply_ = now;
}

void Client::say_result() {
  auto received = me_.wait_received(bank_, kPatience);
  if (!received) give_up("wait_received", received.error().to_string());
  std::string list;
  for (const std::uint64_t each : blackouts_) {
    list += (list.empty() ? "" : ",") + std::to_string(each);
  }
  WorkerLine("result")
      .with("operations", done_)
      .with("calls", calls_)
      .with("slowest", slowest_)
      .with("blackouts", list)
      .say();
}

void Client::run() {
  const auto interval = options_.may_die ? 20ms : 200ms;
  auto say_at = Clock::now();
  while (true) {
    ++number_;
    // Mostly calls; a send now and then, whose order among them the bank checks.
    if (number_ % 4 == 0) {
      send();
      continue;
    }
    call();
    if (options_.think != 0) std::this_thread::sleep_for(std::chrono::microseconds(options_.think));
    if (Clock::now() < say_at) continue;
    say_at = Clock::now() + interval;
    WorkerLine("progress").with("done", done_).say();
    const auto command = read_command();
    if (command.closed || command.line == "finish") break;
  }
  say_result();
}

}  // namespace

int run_client(const Options& options) {
  godwit::ProcessOptions process_options;
  process_options.runtime_directory = options.runtime_directory;
  process_options.program = "client";
  process_options.spin = 0ns;
  auto kind = godwit::fabric::parse_transport(options.transport);
  if (!kind) give_up("--transport", kind.error().to_string());
  // Within a node the one named, to another node tcp.
  process_options.transports = {*kind, godwit::fabric::TransportKind::tcp};
  auto process = godwit::Process::attach(process_options);
  if (!process) give_up("attach", process.error().to_string());
  auto me = (*process)->bind_anonymous(kDc);
  if (!me) give_up("bind", me.error().to_string());
  auto bank = me->wait_bound(options.to, kPatience);
  if (!bank) give_up("wait_bound", bank.error().to_string());
  WorkerLine("ready").say();
  Client(options, **process, std::move(*me), *bank).run();
  return 0;
}

}  // namespace moves
