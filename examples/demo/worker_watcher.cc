// Clients of a server that is about to be killed: one thread waits in a call that is never
// answered, one keeps calling. Each says when it was told, then waits for the successor and calls
// it.
#include <chrono>
#include <string>
#include <thread>

#include "../kv/protocol.h"
#include "local_cluster/worker_line.h"
#include "workers.h"

namespace demo {

using namespace std::chrono_literals;
using godwit::local_cluster::WorkerLine;

namespace {

// Far above the promise of a second, so that a broken promise shows as one.
constexpr auto kPatience = 10s;

void say_told(const char* how, const godwit::Error& error) {
  WorkerLine("told")
      .with("how", how)
      .with("at", now_ns())
      .with("code", to_string(error.code))
      .with("outcome", error.outcome == godwit::Outcome::unknown ? "unknown" : "not_executed")
      .say();
}

void find_successor(godwit::Endpoint& me, const char* how, godwit::EndpointId former) {
  // Until the directory knows of the death, the name may still lead to the dead: try until it leads
  // to somebody who answers.
  const auto until = std::chrono::steady_clock::now() + kPatience;
  const std::string request = kv::encode(kv::Operation::get, "any");
  while (true) {
    const auto store = need(me.wait_bound(kStore, kPatience), "wait_bound");
    auto reply = me.call(store, godwit::bytes_of(request), kPatience);
    if (reply) {
      WorkerLine("found")
          .with("how", how)
          .with("at", now_ns())
          .with("successor", std::uint64_t{store.id() != former})
          .say();
      return;
    }
    if (reply.error().code != godwit::Errc::endpoint_died ||
        std::chrono::steady_clock::now() > until) {
      say_failed("call to the successor", reply.error());
    }
  }
}

void wait_in_a_call(godwit::Process& process) {
  auto me = need(process.bind_anonymous(kDc), "bind");
  const auto store = need(me.wait_bound(kStore, kPatience), "wait_bound");
  const auto silent = need(me.wait_bound(kSilent, kPatience), "wait_bound");
  WorkerLine("waiting").with("how", "waiting").say();
  const auto reply = me.call(silent, godwit::bytes_of("anybody there?"), kPatience);
  if (reply) return;  // the conductor misses our line, and says so
  say_told("waiting", reply.error());
  find_successor(me, "waiting", store.id());
}

void keep_calling(godwit::Process& process) {
  auto me = need(process.bind_anonymous(kDc), "bind");
  const auto store = need(me.wait_bound(kStore, kPatience), "wait_bound");
  const std::string request = kv::encode(kv::Operation::get, "any");
  for (bool said = false;;) {
    const auto reply = me.call(store, godwit::bytes_of(request), kPatience);
    if (!reply) {
      say_told("calling", reply.error());
      break;
    }
    if (!said) WorkerLine("waiting").with("how", "calling").say();
    said = true;
    // Half-idle on purpose: six such threads share the machine with what they measure.
    std::this_thread::sleep_for(200us);
  }
  find_successor(me, "calling", store.id());
}

}  // namespace

int watch_store(const WorkerOptions& options) {
  auto process = attach(options);
  if (!process) return 0;
  std::thread calling([&] { keep_calling(*process); });
  wait_in_a_call(*process);
  calling.join();
  WorkerLine("result").say();
  return 0;
}

}  // namespace demo
