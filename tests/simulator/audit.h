// Audit: knows all that was accepted in a schedule, and says which promise was broken first.
//
// It sees what applications do (send, take, reply, learn an outcome) and what drivers release,
// never the protocol's own state, so that it cannot share a mistake with it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "frame.h"

namespace godwit::simulator {

class Audit {
 public:
  bool failed() const noexcept { return !failure_.empty(); }
  const std::string& failure() const noexcept { return failure_; }
  /// The first failure counts; what follows may be its consequence.
  void fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }

  /// An application's message got a slot. `answers` is the entry of the request, for a reply.
  std::uint32_t on_accepted(Identity from, Identity to, Stream stream, Number number, Kind kind,
                            std::uint32_t answers = 0);
  /// An application took it (for a request: begins to execute it). `number` is what arrived with
  /// it.
  void on_taken(Identity taker, std::uint32_t entry, Number number);
  /// The sender's driver gave up its copy.
  void on_released(std::uint32_t entry);

  enum class Outcome : std::uint8_t { waiting, ok, not_executed, unknown };
  void on_outcome(std::uint32_t request, Outcome outcome, std::uint32_t reply = 0);

  /// Each notification carries one bit, never used twice between a pair.
  std::uint64_t on_notify(Identity from, Identity to);
  void on_notified(Identity from, Identity to, std::uint64_t bits);

  /// A driver took a frame of its peer for good. `known_epoch` is the highest epoch of that peer
  /// that it was told of, by an accepted attach or by the directory.
  void on_heard(const Frame& frame, std::uint32_t known_epoch);

  /// Nothing happens any more: whatever lives must have got all. `alive[e]` is the generation that
  /// lives of endpoint e.
  void on_quiet(const std::vector<std::uint32_t>& alive);

  std::size_t accepted() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    Identity from;
    Identity to;
    Stream stream;
    Number number;
    Kind kind;
    bool taken = false;
    Outcome outcome = Outcome::waiting;  // of a request
    std::uint32_t answers = 0;
    std::uint32_t before = kNone;  // the entry of this kind before this one in its stream
  };
  struct Flow {
    std::array<std::uint32_t, 3> last = {kNone, kNone, kNone};  // by kind
  };
  struct Notifications {
    std::uint32_t sent = 0;
    std::uint64_t seen = 0;
  };
  using Pair = std::pair<Identity, Identity>;

  static constexpr std::uint32_t kNone = ~0u;
  static std::string describe(const Entry& entry);
  /// A cancelled request, whose place in the stream stays empty.
  static bool is_excused(const Entry& entry) noexcept {
    return entry.outcome == Outcome::not_executed;
  }

  std::vector<Entry> entries_;
  std::map<Pair, Flow> flows_;
  std::map<Pair, Notifications> notifications_;
  std::string failure_;
};

}  // namespace godwit::simulator
