// Reads the counters of processes from their mapped files, without asking anybody.
//
// Plain values; any thread. The layout is godwit/counters.h.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/counters.h"
#include "godwit/error.h"
#include "godwit/fabric/transport.h"

namespace godwit::node::cli {

struct CounterField {
  std::string_view name;
  Counter EngineCounters::*counter;
  bool gauge = false;  // a present amount, not a sum since the start
};

inline constexpr std::array kCounterFields = std::to_array<CounterField>({
    {"sends", &EngineCounters::sends},
    {"receives", &EngineCounters::receives},
    {"calls", &EngineCounters::calls},
    {"replies", &EngineCounters::replies},
    {"requests", &EngineCounters::requests},
    {"answered", &EngineCounters::answered},
    {"notifications", &EngineCounters::notifications},
    {"back_pressure", &EngineCounters::back_pressure},
    {"failed", &EngineCounters::failed},
    {"retransmissions", &EngineCounters::retransmissions},
    {"duplicates", &EngineCounters::duplicates},
    {"connects", &EngineCounters::connects},
    {"disconnects", &EngineCounters::disconnects},
    {"sleeps", &EngineCounters::sleeps},
    {"wakes", &EngineCounters::wakes},
    {"endpoints", &EngineCounters::endpoints, true},
    {"channels", &EngineCounters::channels, true},
    {"bytes_copied", &EngineCounters::bytes_copied},
});

struct TransportField {
  std::string_view name;
  Counter EngineCounters::PerTransport::*counter;
  bool gauge = false;
};

inline constexpr std::array kTransportFields = std::to_array<TransportField>({
    {"connections", &EngineCounters::PerTransport::connections, true},
    {"frames_sent", &EngineCounters::PerTransport::frames_sent},
    {"frames_received", &EngineCounters::PerTransport::frames_received},
    {"bytes_sent", &EngineCounters::PerTransport::bytes_sent},
    {"bytes_received", &EngineCounters::PerTransport::bytes_received},
    {"bytes_fetched", &EngineCounters::PerTransport::bytes_fetched},
    {"bytes_written", &EngineCounters::PerTransport::bytes_written},
});

/// The transports that have counters.
inline constexpr std::array kCountedTransports = {
    fabric::TransportKind::shm, fabric::TransportKind::verbs, fabric::TransportKind::ucx,
    fabric::TransportKind::tcp};

/// Values of one engine, or of all engines of a process together.
struct CounterValues {
  std::array<std::uint64_t, kCounterFields.size()> of_engine{};
  std::array<std::array<std::uint64_t, kTransportFields.size()>, kCountedTransports.size()>
      of_transport{};

  std::uint64_t get(Counter EngineCounters::*counter) const;
  std::uint64_t get(fabric::TransportKind kind,
                    Counter EngineCounters::PerTransport::*counter) const;
  /// Over all transports.
  std::uint64_t total(Counter EngineCounters::PerTransport::*counter) const;

  void add(const CounterValues& other, bool gauges);
  /// What was added since `before`; gauges keep their present value. An engine block that was
  /// reused meanwhile counts from zero.
  CounterValues since(const CounterValues& before) const;
};

struct ProcessCounters {
  std::uint64_t process = 0;
  std::uint32_t pid = 0;
  std::string program;
  std::string node;
  std::chrono::system_clock::time_point started;
  bool alive = false;  // a process of that pid exists
  std::chrono::steady_clock::time_point read_at;

  struct Engine {
    unsigned index = 0;
    CounterValues values;
  };
  std::vector<Engine> engines;  // those in use
  CounterValues totals;         // also of engines that have ended

  /// Transports with a connection now, "shm,tcp"; empty: none.
  std::string transports() const;
};

/// Reads one file. Errors: not_found, version_mismatch (of another version of Godwit),
/// protocol_error (no counters file), permission_denied, system.
Result<ProcessCounters> read_counters(const std::filesystem::path& file);

/// All processes of a runtime directory, by pid. A file that appears or goes meanwhile, or is not
/// complete yet, is left out; for any other file that cannot be read its error goes to `problems`.
Result<std::vector<ProcessCounters>> read_all_counters(const std::string& runtime_directory,
                                                       std::vector<Error>& problems);

}  // namespace godwit::node::cli
