// What godwit_audit and its workers are told on their command lines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace audit {

inline constexpr const char* kDc = "audit";
std::string worker_name(unsigned worker);  // "audit/worker-3"

struct Options {
  // The whole run.
  std::uint64_t operations = 1'000'000;  // of all workers together, when nobody is killed
  unsigned processes = 8;
  std::uint64_t seed = 1;
  double cuts_per_second = 4;  // of each worker
  unsigned copies = 2;         // against grants, for each thousand operations
  unsigned kills = 0;          // kill -9 of workers; then the run lasts `seconds`
  double seconds = 10;
  unsigned limit = 1200;  // seconds after which a run that does not end is a failure
  bool keep = false;
  std::vector<std::string> transports = {"shm", "tcp", "ucx"};  // of each worker
  std::string host = "127.0.0.1";                               // of its own nodes
  std::vector<std::string> nodes;                               // commands that reach other nodes
  std::string runtime_directory = "/run/godwit";                // of the nodes' agents

  // One worker.
  std::string role;  // "worker": this process is one
  std::string history;
  unsigned worker = 0;
  unsigned actor = 0;
  std::uint64_t quota = 0;  // operations to each peer; 0: until told
};

}  // namespace audit
