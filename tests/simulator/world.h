// World: one schedule. Endpoints, the network between them, the directory, and what goes wrong.
//
// Everything follows from the seed: virtual time, one queue of events, one source of chance. Faults
// and applications stop at Weather::kFaultyTime; afterwards the world must come to rest with
// nothing lost.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "audit.h"
#include "copy.h"
#include "random.h"
#include "rules.h"
#include "weather.h"

namespace godwit::simulator {

class World final : public Surroundings {
 public:
  World(std::uint64_t seed, const Rules& rules, bool verbose = false);

  /// Runs the schedule to its end or to the first broken promise, which it returns ("": none).
  std::string run();

  std::uint64_t steps() const noexcept { return steps_; }
  std::size_t messages() const noexcept { return audit_.accepted(); }

 private:
  enum class What : std::uint8_t {
    frame,        // a: connection, b: the receiver's side
    opened,       // a: connection, whose side 0 dialled
    broken,       // a: connection, b: the side that learns it
    timer,        // a: copy, b: peer
    ack,          // a: copy, b: peer
    application,  // a: copy
    record,       // a: receiving endpoint, b: index of the record
    operation,    // a: endpoint
    break_one,
    change_one,  // of connections
    move_one,
    crash_one,
    settle,  // a: the copy at the old place, b: the snapshot
    haunt,   // a: copy
  };
  struct Event {
    std::uint64_t time;
    std::uint32_t order;  // among equal times
    What what;
    std::uint32_t a;
    std::uint32_t b;
    std::uint32_t frame;
    bool operator>(const Event& other) const noexcept {
      return time != other.time ? time > other.time : order > other.order;
    }
  };
  struct Connection {
    CopyId ends[2];
    bool open[2] = {false, false};  // as each end sees it
    bool cut = false;               // what is posted now is lost
    std::uint64_t last_arrival[2] = {0, 0};
  };

  // Surroundings
  void post(CopyId from, ConnectionId connection, const Frame& frame) override;
  void dial(CopyId from, std::uint32_t peer) override;
  void set_timer(CopyId copy, std::uint32_t peer) override;
  void set_ack_timer(CopyId copy, std::uint32_t peer) override;
  void wake_application(CopyId copy) override;
  CopyId other_end(ConnectionId connection, CopyId copy) const override;
  Audit& audit() override { return audit_; }
  const Rules& rules() const override { return rules_; }
  Random& random() override { return random_; }
  std::uint32_t window() const override { return weather_.window; }
  std::uint64_t now() const override { return now_; }
  Number first() const override { return weather_.first; }

  void schedule(std::uint64_t delay, What what, std::uint32_t a = 0, std::uint32_t b = 0,
                std::uint32_t frame = 0);
  void handle(const Event& event);
  void deliver(ConnectionId connection, std::uint32_t side, std::uint32_t frame);
  void carry(ConnectionId connection, std::uint32_t side, const Frame& frame);
  void open(ConnectionId connection);
  void end_of(ConnectionId connection, std::uint32_t side);
  void cut(ConnectionId connection, bool at_once);
  void cut_all(CopyId copy);

  void operate(std::uint32_t endpoint);
  void break_one();
  void change_one();
  void move_one();
  void crash_one();
  void settle(CopyId old_place, CopyId snapshot);
  /// Dials peers that it has a channel with.
  void dial_all(CopyId from);
  /// What the move has left: dies, or meddles for a while.
  void leave_behind(Copy& copy);
  void rebirth(std::uint32_t endpoint);
  void publish(const Record& record);

  void check_agreement(const Copy& copy, std::uint32_t peer);
  void check_rest();
  bool calm() const noexcept { return now_ >= Weather::kFaultyTime; }
  Copy* live(std::uint32_t endpoint) { return live_[endpoint]; }
  std::uint32_t other_endpoint(std::uint32_t endpoint);
  void trace(const Event& event) const;

  Random random_;
  Weather weather_;
  Rules rules_;
  bool verbose_;
  Audit audit_;

  std::uint64_t now_ = 0;
  std::uint64_t steps_ = 0;
  std::uint32_t order_ = 0;
  std::vector<Event> queue_;  // a heap
  std::vector<Frame> frames_;
  std::vector<std::uint32_t> free_frames_;
  std::vector<Connection> connections_;
  std::vector<std::unique_ptr<Copy>> copies_;
  std::vector<Copy*> live_;      // by endpoint; null while it moves
  std::vector<Record> records_;  // all that the directory ever said
  std::vector<Record> truth_;    // by endpoint: what it says now
  std::uint64_t next_lineage_ = 1;
};

}  // namespace godwit::simulator
