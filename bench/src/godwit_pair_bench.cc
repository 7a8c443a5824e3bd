// Godwit's half of the comparison: two processes attached to one agent (--role server and --role
// client, both given the same options), or two threads without an agent (--role both). The client
// prints one line of JSON. bench/run starts it; it is of use by hand with perf, too.
#include <pthread.h>
#include <sched.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>

#include "godwit/process.h"
#include "pair/tests.h"

namespace {

using namespace godwit;         // NOLINT: a program
using namespace godwit::bench;  // NOLINT: a program

ProcessOptions process_options(const PairOptions& options, const char* program) {
  ProcessOptions result;
  result.runtime_directory = options.run_directory;
  result.force_transport = options.transport;
  result.spin = options.spin;
  result.arena_capacity = std::size_t{1} << 30;
  result.program = program;
  return result;
}

void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

void check_transport(const Side& side) {
  const auto used = side.process.transport_to(side.me, side.peer);
  if (used != side.options.transport)
    throw BenchFailure("the channel is over " +
                       (used ? std::string(to_string(*used)) : std::string("no transport")) +
                       ", not " + std::string(to_string(side.options.transport)));
}

constexpr std::chrono::seconds kMeeting{10};

void serve(Process& process, const PairTest& test, const PairOptions& options) {
  Endpoint me = must(process.bind(options.dc + "/server"), "bind");
  Request hello = must(me.receive_request(kMeeting), "waiting for the client");
  Side side{process, me, must(me.lookup(hello.source()), "lookup"), options};
  must(me.reply(std::move(hello), bytes_of("welcome")), "reply");
  test.server(side);
}

Timing measure(Process& process, const PairTest& test, const PairOptions& options) {
  Endpoint me = must(process.bind_anonymous(options.dc), "bind_anonymous");
  Side side{process, me, must(me.wait_bound(options.dc + "/server", kMeeting), "wait_bound"),
            options};
  must(me.call(side.peer, bytes_of("hello"), kMeeting), "hello");
  check_transport(side);
  const Timing timing = test.client(side);
  must(me.call(side.peer, bytes_of(kEnd)), "end");
  return timing;
}

template <typename Work>
void guarded(const char* side, Work&& work) {
  try {
    work();
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s: %s\n", side, failure.what());
    std::_Exit(1);
  }
}

int run(const PairTest& test, const PairOptions& options, const std::string& role) {
  if (role == "both") {
    // A side that fails ends the program: the other would wait for it.
    auto process = must(Process::embedded(process_options(options, "bench")), "embedded");
    std::thread server([&] {
      pin(1);
      guarded("server", [&] { serve(*process, test, options); });
    });
    pin(0);
    guarded("client",
            [&] { std::printf("%s\n", to_json(measure(*process, test, options)).c_str()); });
    server.join();
    return 0;
  }
  const std::string program = "bench-" + role;
  auto process = must(Process::attach(process_options(options, program.c_str())), "attach");
  if (role == "server") {
    serve(*process, test, options);
  } else {
    std::printf("%s\n", to_json(measure(*process, test, options)).c_str());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  PairOptions options;
  std::string role = "both";
  std::string transport = "shm";
  std::string spin = "poll";
  CLI::App app("Measures two Godwit processes against each other; see bench/README.md");
  app.add_option("--role", role, "server, client, or both (two threads, no agent)")
      ->check(CLI::IsMember({"server", "client", "both"}));
  std::vector<std::string> names;
  for (const PairTest& test : pair_tests()) names.emplace_back(test.name);
  app.add_option("--test", options.test, "What to measure")
      ->required()
      ->check(CLI::IsMember(names));
  app.add_option("--runtime-directory", options.run_directory, "The agent's runtime directory");
  app.add_option("--dc", options.dc, "The DC to bind in");
  app.add_option("--transport", transport, "shm, verbs, tcp or ucx");
  app.add_option("--spin", spin, "How an idle side waits: poll, adaptive or sleep")
      ->check(CLI::IsMember({"poll", "adaptive", "sleep"}));
  app.add_option("--size", options.size, "Bytes of a message, request or copy");
  app.add_option("--count", options.count, "Operations to time")->check(CLI::PositiveNumber);
  app.add_option("--warmup", options.warmup, "Operations before");
  std::uint64_t think = 0;
  app.add_option("--think", think,
                 "Microseconds that each side computes in each call, not counted");
  app.add_flag("--handover", options.handover, "Send memory of the pool without a copy");
  CLI11_PARSE(app, argc, argv);

  try {
    options.transport = must(fabric::parse_transport(transport), "--transport");
    options.think = std::chrono::microseconds(think);
    if (spin == "sleep") options.spin = std::chrono::nanoseconds::zero();
    if (spin == "adaptive") options.spin = ProcessOptions().spin;
    for (const PairTest& test : pair_tests()) {
      if (test.name == options.test) return run(test, options, role);
    }
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s: %s\n", role.c_str(), failure.what());
  }
  return 1;
}
