// The key-value server and its callers: what the traffic consists of.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "../common/stop_on_signal.h"
#include "../kv/server.h"
#include "latencies.h"
#include "local_cluster/worker_line.h"
#include "workers.h"

namespace demo {

using namespace std::chrono_literals;
using godwit::local_cluster::WorkerLine;

namespace {

constexpr std::uint32_t kKeys = 1024;
constexpr auto kPatience = 5s;
constexpr std::uint64_t kSayEvery = 100'000'000;  // ns

std::string key_of(std::uint32_t i) {
  return "key-" + std::to_string(i);
}
std::string value_of(std::uint32_t i) {
  return "value-" + std::to_string(i) + std::string(40, '.');
}

// After a crash the predecessor's name is free only once the agent has seen its end.
godwit::Endpoint bind_soon(godwit::Process& process, const char* name) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    auto endpoint = process.bind(name);
    if (endpoint) return std::move(*endpoint);
    if (endpoint.error().code != godwit::Errc::name_taken ||
        std::chrono::steady_clock::now() > until) {
      say_failed("bind", endpoint.error());
    }
    auto watcher = need(process.bind_anonymous(kDc), "bind");
    need(watcher.wait_unbound(name, kPatience), "wait_unbound");
  }
}

// One caller's loop: keeps `window` calls in flight, and checks that each reply is the value of the
// key that was asked for.
class Caller {
 public:
  Caller(godwit::Process& process, godwit::Endpoint& me, godwit::Remote store,
         const WorkerOptions& options)
      : process_(process), me_(me), store_(store), options_(options) {
    for (std::uint32_t i = 0; i < kKeys; ++i) {
      requests_.push_back(kv::encode(kv::Operation::get, key_of(i)));
      replies_.push_back(std::string(1, '\0') + value_of(i));
      const auto put = kv::encode(kv::Operation::put, key_of(i), value_of(i));
      need(me_.call(store_, godwit::bytes_of(put), kPatience), "put");
    }
  }

  void run() {
    start_ = now_ns();
    const std::uint64_t end = start_ + std::uint64_t{options_.milliseconds} * 1'000'000;
    for (std::uint64_t now = start_; now < end; now = now_ns()) {
      if (options_.window == 1) {
        const std::uint32_t key = next_key();
        finish(key, now, me_.call(store_, godwit::bytes_of(requests_[key]), kPatience));
      } else {
        fill_window();
        process_.progress();
      }
      if (now >= say_at_) say_progress(now);
    }
    need(process_.run_until([this] { return in_flight_ == 0; }, kPatience), "last replies");
    took_ = now_ns() - start_;
  }

  void say_result() {
    WorkerLine("result")
        .with("calls", latencies_.count())
        .with("wrong", wrong_)
        .with("errors", errors_)
        .with("ns", took_)
        .with("p50", latencies_.percentile(0.50))
        .with("p99", latencies_.percentile(0.99))
        .with("max", latencies_.max())
        .with("transport", transport_name(process_, me_, store_))
        .say();
  }

 private:
  std::uint32_t next_key() { return turn_++ % kKeys; }

  void fill_window() {
    while (in_flight_ < options_.window) {
      const std::uint32_t key = next_key();
      const std::uint64_t at = now_ns();
      ++in_flight_;
      const auto started = me_.call_async(
          store_, godwit::bytes_of(requests_[key]),
          [this, key, at](godwit::Result<godwit::Message> reply) {
            --in_flight_;
            finish(key, at, std::move(reply));
          },
          kPatience);
      if (started) continue;
      --in_flight_;
      if (started.error().code != godwit::Errc::would_block) ++errors_;
      return;
    }
  }

  void finish(std::uint32_t key, std::uint64_t at, godwit::Result<godwit::Message> reply) {
    latencies_.add(now_ns() - at);
    if (!reply) {
      ++errors_;
    } else if (reply->text() != replies_[key]) {
      ++wrong_;
    }
  }

  void say_progress(std::uint64_t now) {
    say_at_ = now + kSayEvery;
    WorkerLine("progress").with("done", latencies_.count()).say();
  }

  godwit::Process& process_;
  godwit::Endpoint& me_;
  godwit::Remote store_;
  const WorkerOptions& options_;
  std::vector<std::string> requests_, replies_;
  Latencies latencies_;
  std::uint32_t turn_ = 0, in_flight_ = 0;
  std::uint64_t wrong_ = 0, errors_ = 0, start_ = 0, took_ = 0, say_at_ = 0;
};

}  // namespace

int serve_store(const WorkerOptions& options) {
  StopOnSignal stop;
  auto process = attach(options);
  if (!process) return 0;
  auto endpoint = bind_soon(*process, kStore);
  // Requests to this one are never received: whoever calls it waits.
  auto silent = bind_soon(*process, kSilent);
  kv::Server server;
  WorkerLine("ready").with("at", now_ns()).say();
  while (auto request = endpoint.receive_request(stop.token())) {
    need(server.handle(endpoint, std::move(*request)), "reply");
  }
  return 0;
}

int call_store(const WorkerOptions& options) {
  auto process = attach(options);
  if (!process) return 0;
  auto me = need(process->bind_anonymous(kDc), "bind");
  const auto store = need(me.wait_bound(kStore, kPatience), "wait_bound");
  auto caller = std::make_unique<Caller>(*process, me, store, options);
  caller->run();
  caller->say_result();
  return 0;
}

}  // namespace demo
