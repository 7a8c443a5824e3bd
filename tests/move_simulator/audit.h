// Audit: says which promise was broken first. It sees what the directory accepted, which gates
// open, what is executed and what clients learn, never the state of the protocol, so that it cannot
// share a mistake with it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "records.h"

namespace godwit::move_simulator {

/// The last number of a client whose records did not move (a planted fault).
inline constexpr std::uint32_t kUnknown = ~0u;

/// What a server remembers of one client of one endpoint. Numbers are below 64.
struct Cell {
  std::uint32_t taken = 0;      // the last number that was taken
  std::uint64_t effects = 0;    // the program's state: a bit for each request
  std::uint64_t completed = 0;  // the replies that the client may ask for again
  bool operator==(const Cell&) const = default;
};
using Cells = std::array<std::array<Cell, Weather::kMaxClients>, Weather::kMaxEndpoints>;

class Audit {
 public:
  bool failed() const noexcept { return !failure_.empty(); }
  const std::string& failure() const noexcept { return failure_; }
  /// The first failure counts; what follows may be its consequence.
  void fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }

  /// The directory says that the group is this process's from this epoch on.
  void on_granted(ProcessId owner, migrate::Epoch epoch);
  /// A gate opens; `others` are open at the same time.
  void on_gate_opened(ProcessId process, migrate::Epoch epoch, const Cells& cells,
                      std::uint32_t others);
  /// A request begins to be executed.
  void on_executed(ProcessId process, std::uint32_t endpoint, std::uint32_t client,
                   std::uint32_t number);
  void on_received(std::uint32_t endpoint, std::uint32_t client, std::uint32_t number);
  void on_reply(std::uint32_t endpoint, std::uint32_t client, std::uint32_t number);

  std::uint64_t executed() const noexcept { return count_; }

 private:
  struct Known {
    std::uint64_t executed = 0;
    std::uint32_t last = 0;
  };
  static std::string name(std::uint32_t endpoint, std::uint32_t client, std::uint32_t number);

  std::array<std::array<Known, Weather::kMaxClients>, Weather::kMaxEndpoints> known_{};
  struct Grant {
    migrate::Epoch epoch;
    ProcessId owner;
  };
  std::vector<Grant> grants_;
  std::uint64_t count_ = 0;
  std::string failure_;
};

}  // namespace godwit::move_simulator
