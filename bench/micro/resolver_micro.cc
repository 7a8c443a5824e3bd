// Finding a peer whose name this process knows.
#include <benchmark/benchmark.h>

#include <stdexcept>
#include <string>

#include "godwit/process.h"

namespace {

using namespace godwit;  // NOLINT: a program

/// An engine with `count` names known to it.
struct Names {
  explicit Names(std::int64_t count) {
    auto made = Process::embedded();
    if (!made) throw std::runtime_error(made.error().to_string());
    process = std::move(*made);
    std::vector<std::string> names;
    for (std::int64_t i = 0; i < count; ++i) names.push_back("bench/name-" + std::to_string(i));
    auto bound = process->bind_many(names);
    if (!bound) throw std::runtime_error(bound.error().to_string());
    for (auto& endpoint : *bound) {
      if (!endpoint) throw std::runtime_error(endpoint.error().to_string());
      endpoints.push_back(std::move(*endpoint));
    }
  }
  std::unique_ptr<Process> process;
  std::vector<Endpoint> endpoints;
};

void resolver_cached(benchmark::State& state) {
  Names names(state.range(0));
  const std::string name = "bench/name-" + std::to_string(state.range(0) / 2);
  for (auto unused : state) benchmark::DoNotOptimize(names.process->resolver().cached(name));
}
BENCHMARK(resolver_cached)->Arg(1)->Arg(10000);

void endpoint_lookup(benchmark::State& state) {
  Names names(state.range(0));
  const std::string name = "bench/name-" + std::to_string(state.range(0) / 2);
  for (auto unused : state) {
    auto found = names.endpoints.front().lookup(name);
    if (!found) return state.SkipWithError(found.error().to_string().c_str());
    benchmark::DoNotOptimize(found->id());
  }
}
BENCHMARK(endpoint_lookup)->Arg(1)->Arg(10000);

}  // namespace
