// The kernel's own means beside which Godwit is measured. Prints one line of JSON.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "peers/peers.h"

int main(int argc, char** argv) {
  using namespace godwit::bench;  // NOLINT: a program
  PeerOptions options;
  std::string name;
  std::vector<std::string> names;
  for (const PeerTest& test : peer_tests()) names.emplace_back(test.name);
  CLI::App app("Measures two processes over futexes, pipes and sockets; see bench/README.md");
  app.add_option("--test", name, "What to measure")->required()->check(CLI::IsMember(names));
  app.add_option("--size", options.size, "Bytes of a message")->check(CLI::PositiveNumber);
  app.add_option("--count", options.count, "Operations to time")->check(CLI::PositiveNumber);
  app.add_option("--warmup", options.warmup, "Operations before");
  std::uint64_t think = 0;
  app.add_option("--think", think,
                 "Microseconds that each side computes in each round trip, not counted (futex)");
  app.add_option("--parent-cpu", options.parent_cpu, "The core of the first process");
  app.add_option("--child-cpu", options.child_cpu, "The core of the second");
  CLI11_PARSE(app, argc, argv);
  options.think = std::chrono::microseconds(think);
  try {
    for (const PeerTest& test : peer_tests()) {
      if (test.name == name) std::printf("%s\n", to_json(test.run(options)).c_str());
    }
    return 0;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), failure.what());
    return 1;
  }
}
