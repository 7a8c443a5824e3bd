// A history: what one process of the audit did, as runs of numbers, in a mapped file that survives
// the process's kill -9: each fact stands in the file before the next step is taken.
//
// An actor is one life of a worker process; a worker that is killed and started again is a new
// actor of the same worker. Per pair (sender, receiving worker) the sender numbers its operations
// (messages and calls alike) from 1, and its calls among them from 1 again.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "godwit/error.h"

namespace audit {

using godwit::Result;

enum class Stream : std::uint8_t {
  issued,          // operations given to send or call; the other side is a worker
  issued_calls,    // of those, the calls
  refused,         // operations that send refused: certainly not executed
  executed,        // operations that arrived; the other side is an actor
  executed_calls,  // of those, the calls
  ok,              // calls by their outcome; the other side is a worker
  not_executed,
  unknown,
};
inline constexpr std::size_t kStreams = 8;

/// `count` numbers from `first` on, in the order of their happening.
struct Run {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  bool operator==(const Run&) const = default;
};

/// The history of one actor as the checker sees it.
struct History {
  std::uint16_t worker = 0;
  std::uint16_t actor = 0;
  bool clean = false;  // the process ended after its last operation had its outcome
  std::map<std::pair<Stream, std::uint16_t>, std::vector<Run>> runs;

  std::span<const Run> of(Stream stream, std::uint16_t other) const;
};

/// Writes one. One thread.
class HistoryWriter {
 public:
  static constexpr std::uint16_t kOthers = 1024;  // workers and actors: below this

  static Result<HistoryWriter> create(const std::string& path, std::uint16_t worker,
                                      std::uint16_t actor);
  HistoryWriter(HistoryWriter&& other) noexcept;
  HistoryWriter& operator=(HistoryWriter&&) = delete;
  ~HistoryWriter();

  /// Appends a number. False once the file is full: then the audit cannot be believed.
  bool add(Stream stream, std::uint16_t other, std::uint64_t number);
  void set_clean();

 private:
  struct File;
  HistoryWriter(int fd, File* file);
  bool grow();

  int fd_;
  File* file_;            // mapped to its full size; only what the file has is touched
  std::size_t room_ = 0;  // runs that the file has room for
  // The last run of each stream and other side, 1 more than its index; 0: none yet.
  std::vector<std::uint32_t> last_;
};

/// Reads one. Errors: not_found (its process had not begun it), protocol_error (no such file's
/// format), system.
Result<History> read_history(const std::string& path);

}  // namespace audit
