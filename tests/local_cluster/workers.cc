#include "workers.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "godwit/godwit.h"
#include "leftovers.h"
#include "local_cluster/child_process.h"
#include "local_cluster/network.h"
#include "local_cluster/worker_line.h"

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::ChildOptions;
using godwit::local_cluster::ChildProcess;
using godwit::local_cluster::Network;
using godwit::local_cluster::WorkerLine;

constexpr auto kCallLimit = 2s;
constexpr auto kPatience = 60s;
constexpr auto kPace = 5ms;  // a caller leaves the processors to others

template <typename T>
T need(godwit::Result<T> result, std::string_view what) {
  if (result) {
    if constexpr (std::is_void_v<T>) {
      return;
    } else {
      return std::move(*result);
    }
  }
  WorkerLine("failed").with("what", what).with("error", result.error().to_string()).say();
  std::_Exit(1);
}

std::unique_ptr<godwit::Process> attach() {
  godwit::ProcessOptions options;  // $GODWIT_RUN
  options.spin = 0ns;
  return need(godwit::Process::attach(options), "attach");
}

// Binding fails while the directory is away, and may be repeated.
godwit::Endpoint bind(const std::function<godwit::Result<godwit::Endpoint>()>& attempt) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    auto endpoint = attempt();
    const bool passes = !endpoint && endpoint.error().code == godwit::Errc::agent_unavailable;
    if (!passes || std::chrono::steady_clock::now() > until) {
      return need(std::move(endpoint), "bind");
    }
    std::this_thread::sleep_for(kPace);
  }
}

int echo() {
  auto process = attach();
  auto endpoint = bind([&] { return process->bind(kEcho); });
  WorkerLine("ready").say();
  while (true) {
    auto request = need(endpoint.receive_request(), "receive_request");
    const auto payload = request.payload();
    need(endpoint.reply(std::move(request), payload), "reply");
  }
}

int call() {
  auto process = attach();
  auto me = bind([&] { return process->bind_anonymous(kDc); });
  const auto server = need(me.wait_bound(kEcho, kPatience), "wait_bound");
  need(me.call(server, godwit::bytes_of("first"), kPatience), "call");
  WorkerLine("ready").say();
  bool stalled = false;
  for (std::uint64_t answers = 0;;) {
    const auto reply = me.call(server, godwit::bytes_of("again"), kCallLimit);
    if (reply) {
      WorkerLine("progress").with("done", ++answers).say();
      if (std::exchange(stalled, false)) WorkerLine("recovered").say();
    } else if (reply.error().code == godwit::Errc::endpoint_died) {
      need<void>(tl::make_unexpected(reply.error()), "call");
    } else if (!std::exchange(stalled, true)) {
      WorkerLine("stalled").with("error", reply.error().to_string()).say();
    }
    std::this_thread::sleep_for(kPace);
  }
}

int own() {
  auto network = need(Network::make({"a", "b"}), "network");
  need(network.cut("a", "b"), "cut");
  WorkerLine ready("ready");
  std::vector<ChildProcess> programs;
  for (const std::string& host : network.hosts()) {
    ChildOptions options;
    options.namespaces = network.namespaces_of(host);
    programs.push_back(need(ChildProcess::start({"/bin/cat"}, std::move(options)), "start"));
    ready.with("program_" + host, static_cast<std::uint64_t>(programs.back().pid()));
    ready.with("namespace_" + host, inode_of(network.namespaces_of(host).back()));
  }
  ready.say();
  while (true) ::pause();
}

}  // namespace

int run_worker(const std::string& role) {
  if (role == "echo") return echo();
  if (role == "caller") return call();
  if (role == "owner") return own();
  std::fprintf(stderr, "no worker is called %s\n", role.c_str());
  return 2;
}
