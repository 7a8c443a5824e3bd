// What godwit_moves and its workers are told on their command lines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moves {

inline constexpr const char* kDc = "moves";
inline constexpr const char* kBank = "moves/bank";
inline constexpr const char* kProgram = "bank";

struct Options {
  // The whole run.
  unsigned moves = 20;
  unsigned clients = 8;
  std::uint64_t operations = 0;   // of all clients, at least
  std::uint64_t state = 1 << 20;  // bytes
  double pause = 0.02;            // seconds between two moves
  std::uint64_t seed = 1;
  unsigned limit = 600;  // seconds
  bool private_zookeeper = false;
  bool keep = false;
  bool json = false;
  std::vector<std::string> transports = {"shm", "tcp"};  // the clients take turns

  // One worker.
  std::string role;
  std::string runtime_directory;
  std::string transport;
  unsigned index = 0;
  bool stand_by = false;
};

int run_bank(const Options& options);
int run_client(const Options& options);

}  // namespace moves
