#include "crew.h"

#include <poll.h>

#include <atomic>
#include <csignal>
#include <utility>

namespace godwit::local_cluster {

using namespace std::chrono_literals;

namespace {

constexpr int kTick = 100;  // ms
constexpr auto kStartLimit = 15s;
constexpr auto kStopPatience = 5s;

std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set in a signal handler");

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_interrupted = true; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGHUP, &action, nullptr);
}

bool interrupted() {
  return g_interrupted;
}

const WorkerLine* Worker::find(const std::string& what) const {
  const auto all = find_all(what);
  return all.empty() ? nullptr : all.front();
}

std::vector<const WorkerLine*> Worker::find_all(const std::string& what) const {
  std::vector<const WorkerLine*> found;
  for (const WorkerLine& line : lines) {
    if (line.what() == what) found.push_back(&line);
  }
  return found;
}

Crew::Crew(const Cluster& cluster)
    : place_of_([&cluster](const std::string& node) {
        return Place{cluster.runtime_directory(node), cluster.child_options(node), {}};
      }) {}

Result<Worker*> Crew::start(const std::string& node, const std::string& role,
                            std::vector<std::string> flags, Environment environment) {
  Place place = place_of_(node);
  std::vector<std::string> command = std::move(place.launcher);
  if (!command.empty()) command.insert(command.begin(), "/usr/bin/env");
  command.insert(command.end(),
                 {this_program(), "--worker", role, "--run", place.runtime_directory});
  command.insert(command.end(), flags.begin(), flags.end());
  Environment& added = place.options.environment;
  added.insert(added.end(), environment.begin(), environment.end());
  auto process = ChildProcess::start(std::move(command), std::move(place.options));
  if (!process) return tl::make_unexpected(process.error());
  workers_.push_back(
      std::make_unique<Worker>(Worker{node, role, std::move(*process), {}, 0, false}));
  return workers_.back().get();
}

Result<Worker*> Crew::start_server(const std::string& node, const std::string& role,
                                   std::vector<std::string> flags, Environment environment) {
  auto worker = start(node, role, std::move(flags), std::move(environment));
  if (!worker) return worker;
  auto ready = run_until([&] { return (*worker)->find("ready") != nullptr; }, kStartLimit);
  if (!ready) return tl::make_unexpected(ready.error());
  return worker;
}

void Crew::listen(Worker& worker) {
  while (auto text = worker.process.next_line()) {
    WorkerLine line = WorkerLine::parse(*text);
    if (line.what() == "progress") {
      worker.progress = line.number("done");
    } else {
      worker.lines.push_back(std::move(line));
    }
  }
}

Result<void> Crew::judge(const Worker& worker) const {
  if (const WorkerLine* failed = worker.find("failed")) {
    return fail(Errc::system, "the " + worker.role + " on " + worker.node + " failed: " +
                                  failed->text("what") + ": " + failed->text("error"));
  }
  return {};
}

Result<void> Crew::run_until(const std::function<bool()>& until, std::chrono::milliseconds limit,
                             const std::function<void()>& tick) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (true) {
    std::vector<pollfd> ready;
    for (const auto& worker : workers_) {
      // The status first: what it said before its end is read after it.
      const auto ended = worker->dismissed ? std::nullopt : worker->process.ended();
      listen(*worker);
      if (auto sound = judge(*worker); !sound) return sound;
      if (ended && !ended->ok()) {
        return fail(Errc::system, "the " + worker->role + " on " + worker->node +
                                      " ended early: " + ended->to_string());
      }
      if (worker->process.output() >= 0) ready.push_back({worker->process.output(), POLLIN, 0});
    }
    if (until()) return {};
    if (interrupted()) return fail(Errc::cancelled, "interrupted");
    if (std::chrono::steady_clock::now() > end) {
      return fail(Errc::deadline_exceeded, "the workers took too long");
    }
    if (tick) tick();
    ::poll(ready.data(), ready.size(), kTick);
  }
}

std::uint64_t Crew::kill(Worker& worker) {
  worker.dismissed = true;
  const auto at = std::chrono::steady_clock::now().time_since_epoch();
  worker.process.signal(SIGKILL);
  return static_cast<std::uint64_t>(at / 1ns);
}

void Crew::pause(Worker& worker) {
  worker.process.pause();
}

void Crew::resume(Worker& worker) {
  worker.process.resume();
}

Result<void> Crew::stop(Worker& worker) {
  worker.dismissed = true;
  const auto status = worker.process.stop(kStopPatience);
  listen(worker);
  if (auto sound = judge(worker); !sound) return sound;
  if (status.ok()) return {};
  return fail(Errc::system, "the " + worker.role + " on " + worker.node +
                                " did not end cleanly: " + status.to_string());
}

std::uint64_t Crew::total_progress(const std::string& role) const {
  std::uint64_t total = 0;
  for (const auto& worker : workers_) {
    if (worker->role == role) total += worker->progress;
  }
  return total;
}

}  // namespace godwit::local_cluster
