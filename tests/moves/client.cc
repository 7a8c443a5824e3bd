// A client: calls and sends without a pause, knows nothing of moves, and measures how long the
// bank was away whenever another process answers than before.
#include <algorithm>
#include <cstring>
#include <vector>

#include "godwit/godwit.h"
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

[[noreturn]] void give_up(const std::string& what, const std::string& error) {
  WorkerLine("failed").with("what", what).with("error", error).say();
  std::_Exit(1);
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
  auto bank = me->wait_bound(kBank, kPatience);
  if (!bank) give_up("wait_bound", bank.error().to_string());
  WorkerLine("ready").say();

  std::uint64_t number = 0;
  std::uint64_t calls = 0;
  std::uint32_t place = 0;
  bool finish = false;
  Clock::time_point last_reply{};
  auto say_at = Clock::now();
  std::vector<std::uint64_t> blackouts;  // ns
  std::uint64_t slowest = 0;             // ns, of a call answered by the place before
  while (!finish) {
    // Mostly calls; a send now and then, whose order among them the bank checks.
    Operation operation{options.index, 0, ++number};
    if (number % 4 == 0) {
      auto sent = me->send(*bank, std::as_bytes(std::span(&operation, 1)), kPatience);
      if (!sent) give_up("send", sent.error().to_string());
      continue;
    }
    const auto before = Clock::now();
    auto reply = me->call(*bank, std::as_bytes(std::span(&operation, 1)), kPatience);
    if (!reply) give_up("call", reply.error().to_string());
    const auto now = Clock::now();
    Answer answer{};
    if (reply->payload().size() != sizeof answer) give_up("call", "a reply cut short");
    std::memcpy(&answer, reply->payload().data(), sizeof answer);
    if (answer.verdict != Verdict::ok || answer.number != number || answer.total != number) {
      WorkerLine("broken")
          .with("number", number)
          .with("answered", answer.number)
          .with("total", answer.total)
          .with("verdict", static_cast<std::uint64_t>(answer.verdict))
          .say();
    }
    ++calls;
    const auto ns = [](Clock::duration time) { return static_cast<std::uint64_t>(time.count()); };
    if (place != 0 && answer.place != place) {
      blackouts.push_back(ns(now - last_reply));
    } else {
      slowest = std::max(slowest, ns(now - before));
    }
    place = answer.place;
    last_reply = now;
    if (now >= say_at) {
      say_at = now + 200ms;
      WorkerLine("progress").with("done", number).say();
      const auto command = read_command();
      finish = command.closed || command.line == "finish";
    }
  }
  auto received = me->wait_received(*bank, kPatience);
  if (!received) give_up("wait_received", received.error().to_string());
  std::string list;
  for (const std::uint64_t each : blackouts)
    list += (list.empty() ? "" : ",") + std::to_string(each);
  WorkerLine("result")
      .with("operations", number)
      .with("calls", calls)
      .with("slowest", slowest)
      .with("blackouts", list)
      .say();
  return 0;
}

}  // namespace moves
