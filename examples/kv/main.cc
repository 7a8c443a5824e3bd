// A key-value server, and a command line for it.
//
//   example_kv server &
//   example_kv put bird godwit
//   example_kv get bird          prints: godwit
//   example_kv watch bird 1 &    prints the value at its next change
//   example_kv add birds         prints: 1
//   example_kv count calls 1000  adds so many times, and checks that each was executed once
//   example_kv del bird
//   godwit migrate demo/kv NODE  moves the server, with all it holds, while its clients go on, to a
//                                node that has `[programs.kv] command = [".../example_kv",
//                                "server"]` in its godwitd.toml
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "../common/check.h"
#include "../common/stop_on_signal.h"
#include "client.h"
#include "godwit/godwit.h"
#include "godwit/movable.h"
#include "server.h"

using namespace std::chrono_literals;

namespace {

constexpr const char* kName = "demo/kv";
constexpr std::uint8_t kChanged = 0;

int serve() {
  StopOnSignal stop;
  auto process = check(godwit::Process::attach(), "attach");
  kv::Server server;
  auto movable = check(
      godwit::Movable::create(*process, {.program = "kv", .names = {kName}}, &server), "movable");
  // Bound here, or moved here; until it moves away.
  while (true) {
    auto here = movable->serve(stop.token());
    if (!here && here.error().code == godwit::Errc::cancelled) break;
    check(std::move(here), "serve");
    std::printf("serving %s on node %s\n", kName, process->node().c_str());
    std::fflush(stdout);
    godwit::Endpoint& endpoint = movable->endpoint();
    while (auto request = endpoint.receive_request(stop.token())) {
      check(server.handle(endpoint, std::move(*request)), "reply");
    }
  }
  return 0;
}

int show(kv::Client& client, std::string_view key) {
  const auto value = check(client.get(key), "get");
  std::printf("%s\n", value ? value->c_str() : "(none)");
  std::fflush(stdout);
  return value ? 0 : 1;
}

int watch(godwit::Endpoint& me, kv::Client& client, std::string_view key, int changes) {
  check(client.watch(key, kChanged), "watch");
  std::printf("watching %.*s\n", static_cast<int>(key.size()), key.data());
  std::fflush(stdout);
  for (int seen = 0; seen < changes; ++seen) {
    const auto message = check(me.receive(), "receive");
    if (message.kind() == godwit::Message::Kind::notification) show(client, key);
  }
  return 0;
}

/// Adds to a key that nobody else adds to: were a call lost or executed twice, its answer would not
/// be the last one's successor.
int count(godwit::Endpoint& me, std::string_view key, int times) {
  // A server that moves is away for a moment.
  kv::Client client(me, kName, 60s);
  using Clock = std::chrono::steady_clock;
  Clock::duration slowest{};
  std::uint64_t last = 0;
  for (int i = 0; i < times; ++i) {
    const auto before = Clock::now();
    const std::uint64_t now = check(client.add(key), "add");
    slowest = std::max(slowest, Clock::now() - before);
    if (i != 0 && now != last + 1) {
      std::printf("after %llu came %llu\n", static_cast<unsigned long long>(last),
                  static_cast<unsigned long long>(now));
      return 1;
    }
    last = now;
  }
  std::printf("%d calls, each executed once; the slowest took %.2f ms\n", times,
              std::chrono::duration<double, std::milli>(slowest).count());
  return 0;
}

int usage(const char* program) {
  std::fprintf(
      stderr,
      "usage: %s server | put KEY VALUE | get KEY | del KEY | add KEY | count KEY TIMES |\n"
      "       watch KEY CHANGES\n",
      program);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "server") return serve();
  if (argc < 3) return usage(argv[0]);
  const std::string_view key = argv[2];

  auto process = check(godwit::Process::attach(), "attach");
  auto me = check(process->bind_anonymous("demo"), "bind");
  check(me.wait_bound(kName, 5s), "no key-value server");
  kv::Client client(me, kName, 2s);

  if (verb == "get") return show(client, key);
  if (verb == "put" && argc == 4) return check(client.put(key, argv[3]), "put"), 0;
  if (verb == "add") {
    std::printf("%llu\n", static_cast<unsigned long long>(check(client.add(key), "add")));
    return 0;
  }
  if (verb == "count" && argc == 4) return count(me, key, std::atoi(argv[3]));
  if (verb == "del") return check(client.remove(key), "del") ? 0 : 1;
  if (verb == "watch" && argc == 4) return watch(me, client, key, std::atoi(argv[3]));
  return usage(argv[0]);
}
