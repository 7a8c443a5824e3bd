// What godwit_moves and its workers are told on their command lines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moves {

inline constexpr const char* kDc = "moves";
inline constexpr const char* kBank = "moves/bank";
inline constexpr const char* kProgram = "bank";
inline constexpr const char* kRelay = "moves/relay";
inline constexpr const char* kRelayProgram = "relay";

inline constexpr int kExitBroken = 1;
inline constexpr int kExitFailed = 2;

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
  bool namespaces = false;  // a network namespace for each node, where that is allowed
  bool keep = false;
  bool json = false;
  std::vector<std::string> transports = {"shm", "tcp"};  // the clients take turns

  // Faults at the steps of moves instead (fault_campaign.h).
  std::string faults;                    // "all" or how many
  std::vector<std::string> fault_cases;  // these
  bool list_faults = false;
  std::string planted;  // a rule to be broken
  bool expect_broken = false;

  std::string scene;  // instead: a situation of its own (scene.h)

  // One worker.
  std::string role;
  std::string runtime_directory;
  std::string transport;
  unsigned index = 0;
  bool stand_by = false;
  unsigned format = 1;     // bank: of its state; 2 stands for a newer build
  std::string to = kBank;  // client: whom it calls
  bool may_die = false;    // client: the bank may lose its memory
  int tester = 0;          // bank: ends with this process; nobody talks to it by its standard input
  unsigned think = 0;      // client: microseconds between two operations
  std::string ledger;      // bank: folder of the ledgers; empty: none
};

int run_bank(const Options& options);
int run_client(const Options& options);
int run_relay(const Options& options);

}  // namespace moves
