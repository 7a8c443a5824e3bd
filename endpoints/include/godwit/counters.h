// Counters of a process, in mapped memory that anybody allowed may read without disturbing it.
//
// One file per process, `<runtime directory>/counters/<process>.counters`, written with relaxed
// atomic stores by the engine that owns each block and read by `godwit stat` and `godwit top`. The
// layout is versioned; a reader that meets another version says so. Readers may see values of
// slightly different moments, never torn ones.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace godwit {

/// A counter with one writer: no locked instruction.
class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void set(std::uint64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};
static_assert(sizeof(Counter) == 8 && std::atomic<std::uint64_t>::is_always_lock_free);

/// One engine's counters. Rates and latencies are the reader's business.
struct alignas(64) EngineCounters {
  Counter in_use;           // 1: the block belongs to a living engine
  Counter sends;            // messages accepted by send
  Counter receives;         // messages taken by receive
  Counter calls;            // calls started
  Counter replies;          // calls completed with a reply
  Counter requests;         // requests taken by receive_request
  Counter answered;         // replies given
  Counter notifications;    // notify called
  Counter back_pressure;    // would_block answered, or a wait for the window
  Counter failed;           // calls and sends ended by an error other than back-pressure
  Counter retransmissions;  // frames sent again after a reconnect or a probe
  Counter duplicates;       // frames dropped by the duplicate filter
  Counter connects;         // connections established
  Counter disconnects;      // connections lost
  Counter sleeps;           // times the engine went to sleep
  Counter wakes;            // wake-ups written to sleeping peers
  Counter endpoints;        // endpoints bound now
  Counter channels;         // channels open now
  Counter bytes_copied;     // by grants
  struct PerTransport {
    Counter connections;  // now
    Counter frames_sent, frames_received, bytes_sent, bytes_received;
    Counter bytes_fetched, bytes_written;  // one-sided, of copies by this engine
  };
  std::array<PerTransport, 6> transport;  // index: fabric::TransportKind
};

/// The whole file.
struct CountersPage {
  static constexpr std::uint64_t kMagic = 0x31534E5443445747u;  // "GWDCTNS1"
  static constexpr std::uint32_t kVersion = 2;
  static constexpr std::uint32_t kEngines = 64;

  std::uint64_t magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t pid = 0;
  std::uint64_t process = 0;
  std::uint64_t start_time_ns = 0;  // CLOCK_REALTIME
  std::array<char, 64> program{};   // NUL-terminated
  std::array<char, 64> node{};
  EngineCounters engines[kEngines];
};

}  // namespace godwit
