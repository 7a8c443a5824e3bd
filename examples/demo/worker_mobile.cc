// A key-value server that moves between the nodes, and its clients, which are told nothing of it.
#include <chrono>
#include <string>

#include "../common/stop_on_signal.h"
#include "../kv/client.h"
#include "../kv/server.h"
#include "local_cluster/worker_line.h"
#include "workers.h"

namespace demo {

using namespace std::chrono_literals;
using godwit::local_cluster::read_command;
using godwit::local_cluster::WorkerLine;

namespace {

constexpr auto kPatience = 20s;
// Three servers, four clients and three agents.
constexpr unsigned kCrowd = 10;
constexpr std::size_t kValueSize = 4096;

void fill(kv::Server& server, std::uint32_t mebibytes) {
  const std::uint32_t values = (mebibytes << 20) / kValueSize;
  for (std::uint32_t i = 0; i < values; ++i) {
    server.put("filling-" + std::to_string(i), std::string(kValueSize, static_cast<char>(i)));
  }
}

// Counts and writes in turn. Each answer says whether something was lost, done twice or out of
// order: a count that is not the next one, a value that is not the last one written.
class Auditor {
 public:
  Auditor(godwit::Endpoint& me, std::uint32_t index)
      : client_(me, kMobile, kPatience),
        counter_("counter-" + std::to_string(index)),
        key_("value-" + std::to_string(index)) {}

  void step() {
    const std::uint64_t count = need(client_.add(counter_), "add");
    ++expected_;
    if (count < expected_) ++lost_;
    if (count > expected_) ++doubled_;
    expected_ = count;
    replied();
    const std::string value = std::to_string(count);
    need(client_.put(key_, value), "put");
    replied();
    if (need(client_.get(key_), "get") != value) ++stale_;
    replied();
  }

  /// The longest time without a reply since the last lap, in ns.
  std::uint64_t lap() { return std::exchange(longest_, 0); }

  void say_result() const {
    WorkerLine("result")
        .with("calls", calls_)
        .with("lost", lost_)
        .with("doubled", doubled_)
        .with("stale", stale_)
        .say();
  }
  std::uint64_t calls() const { return calls_; }

 private:
  void replied() {
    const std::uint64_t now = now_ns();
    if (last_ != 0) longest_ = std::max(longest_, now - last_);
    last_ = now;
    ++calls_;
  }

  kv::Client client_;
  const std::string counter_, key_;
  std::uint64_t expected_ = 0, calls_ = 0, lost_ = 0, doubled_ = 0, stale_ = 0;
  std::uint64_t last_ = 0, longest_ = 0;
};

}  // namespace

int serve_mobile(const WorkerOptions& options) {
  StopOnSignal stop;
  auto process = attach(options, kCrowd);
  if (!process) return 0;
  kv::Server server;
  if (!options.stand_by) fill(server, options.mebibytes);
  auto movable = need(
      godwit::Movable::create(
          *process, {.program = kMobileProgram, .names = {kMobile}, .stand_by = options.stand_by},
          &server),
      "movable");
  if (options.stand_by) WorkerLine("ready").say();
  bool first = !options.stand_by;
  while (true) {
    auto here = movable->serve(stop.token());
    if (!here && here.error().code == godwit::Errc::cancelled) break;
    need(std::move(here), "serve");
    if (std::exchange(first, false)) WorkerLine("ready").say();
    godwit::Endpoint& endpoint = movable->endpoint();
    while (auto request = endpoint.receive_request(stop.token())) {
      need(server.handle(endpoint, std::move(*request)), "reply");
    }
  }
  return 0;
}

int call_mobile(const WorkerOptions& options) {
  auto process = attach(options, kCrowd);
  if (!process) return 0;
  auto me = need(process->bind_anonymous(kDc), "bind");
  need(me.wait_bound(kMobile, kPatience), "wait_bound");
  Auditor auditor(me, options.index);
  auditor.step();
  WorkerLine("ready").say();
  std::uint64_t say_at = 0;
  while (true) {
    auditor.step();
    const auto command = read_command();
    if (command.closed || command.line == "finish") break;
    if (command.line == "lap") WorkerLine("lap").with("pause", auditor.lap()).say();
    if (const std::uint64_t now = now_ns(); now >= say_at) {
      say_at = now + 100'000'000;
      WorkerLine("progress").with("done", auditor.calls()).say();
    }
  }
  auditor.say_result();
  return 0;
}

}  // namespace demo
