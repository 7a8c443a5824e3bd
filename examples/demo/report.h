// Report: what the demonstration measured, and which promises held. A plain value; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace demo {

/// Calls over one transport.
struct TrafficRow {
  std::string transport;
  std::string way;  // "north -> north"
  std::uint32_t in_flight = 1;
  std::uint64_t calls = 0;
  double per_second = 0;
  std::uint64_t p50_ns = 0, p99_ns = 0, max_ns = 0;
};

struct CopyRow {
  std::string transport;
  std::string way;
  std::uint64_t bytes = 0;
  double gigabytes_per_second = 0;
};

/// When a client of a killed server was told.
struct DeathRow {
  std::string node;
  std::string client;        // "waiting in a call", "calling on and on"
  double told_ms = -1;       // -1: never
  double successor_ms = -1;  // from the successor's readiness to its first reply
};

/// A client that cut its connections under load.
struct CutRow {
  std::string node;
  std::string path;  // "shm,tcp,shm"
  std::uint64_t cuts = 0;
  std::uint64_t written = 0, calls = 0, lost = 0, doubled = 0;
  double longest_pause_ms = 0;
};

/// A server that moved to another node under load.
struct MoveRow {
  std::string from, to;
  std::uint32_t mebibytes = 0;  // of state
  std::uint32_t rounds = 0;     // of copying, while it served
  std::uint64_t bytes_sent = 0;
  double copy_ms = 0;  // the rounds
  double gate_ms = 0;  // from the gate's shutting to the word that it serves elsewhere
  double median_pause_ms = 0, longest_pause_ms = 0;  // between two replies, as its clients saw it
};

struct Promise {
  std::string text;
  bool kept = false;
  std::string evidence;
};

struct Report {
  std::vector<TrafficRow> traffic;
  std::vector<CopyRow> copies;
  std::vector<DeathRow> deaths;
  std::vector<CutRow> cuts;
  std::vector<MoveRow> moves;
  std::vector<Promise> promises;
  std::vector<std::string> notes;  // what was left out, and why

  void promise(std::string text, bool kept, std::string evidence) {
    promises.push_back({std::move(text), kept, std::move(evidence)});
  }
  bool all_kept() const;

  std::string to_text() const;
  std::string to_json() const;
};

}  // namespace demo
