// Copy: the memory of an endpoint at one place: its application, its channels, what it was told.
//
// A move makes a second copy. At most one copy of a generation is live; what stays at the old place
// is a ghost, whose core answers but whose application must never run. Owned by the World.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim_channel.h"

namespace godwit::simulator {

using CopyId = std::uint32_t;

/// The directory's record of an endpoint.
struct Record {
  Identity identity;
  std::uint64_t lineage = 0;
  std::uint32_t epoch = 0;
  CopyId place = 0;

  bool newer_than(const Record& other) const noexcept {
    return identity.generation != other.identity.generation
               ? identity.generation > other.identity.generation
               : epoch > other.epoch;
  }
};

/// What a Copy asks of the World.
class Surroundings {
 public:
  virtual ~Surroundings() = default;

  virtual void post(CopyId from, ConnectionId connection, const Frame& frame) = 0;
  virtual void dial(CopyId from, std::uint32_t peer) = 0;
  virtual void set_timer(CopyId copy, std::uint32_t peer) = 0;
  virtual void set_ack_timer(CopyId copy, std::uint32_t peer) = 0;
  virtual void wake_application(CopyId copy) = 0;
  virtual CopyId other_end(ConnectionId connection, CopyId copy) const = 0;
  virtual Audit& audit() = 0;
  virtual const Rules& rules() const = 0;
  virtual Random& random() = 0;
  virtual std::uint32_t window() const = 0;
  virtual std::uint64_t now() const = 0;
  virtual Number first() const = 0;
};

class Copy final : public Host {
 public:
  enum class State : std::uint8_t {
    live,
    ghost,     // its gate is shut: it moves, or has moved
    parked,    // the snapshot that a move takes
    arriving,  // the same where it may go on: has sessions, executes nothing
    dead,
  };

  Copy(Surroundings& world, CopyId id, const Record& self, std::vector<Record> directory);
  /// The snapshot that a move takes: not awake until arrive(), or grant().
  Copy(const Copy& original, CopyId id);

  CopyId id() const noexcept { return id_; }
  State state() const noexcept { return state_; }
  bool awake() const noexcept {
    return state_ == State::live || state_ == State::ghost || state_ == State::arriving;
  }
  const Record& self() const noexcept { return self_; }
  const Record& known(std::uint32_t endpoint) const { return directory_[endpoint]; }
  SimChannel* channel(std::uint32_t peer) { return channels_[peer].get(); }
  SimChannel& open_channel(std::uint32_t peer);

  void shut_gate() noexcept { state_ = State::ghost; }
  void die() noexcept { state_ = State::dead; }
  void arrive() noexcept { state_ = State::arriving; }
  /// The snapshot becomes the endpoint, with this epoch.
  void grant(std::uint32_t epoch);
  /// The original goes on.
  void resume(std::uint32_t epoch);

  void on_frame(ConnectionId connection, const Frame& frame);
  void on_record(const Record& record);
  /// The application takes or answers one thing. True: there is more.
  bool run_application();
  bool has_work() const;

  // Host
  void post(ConnectionId connection, const Frame& frame) override {
    world_->post(id_, connection, frame);
  }
  void dial(SimChannel& channel) override { world_->dial(id_, channel.peer().endpoint); }
  void set_timer(SimChannel& channel) override { world_->set_timer(id_, channel.peer().endpoint); }
  void owe_ack(SimChannel& channel) override {
    world_->set_ack_timer(id_, channel.peer().endpoint);
  }
  void wake_application() override { world_->wake_application(id_); }
  bool gate_open() const override {
    return state_ == State::live || (state_ == State::ghost && !world_->rules().gate) ||
           (state_ == State::arriving && !world_->rules().grant);
  }
  bool arriving() const override { return state_ == State::arriving; }
  std::uint32_t window() const override { return world_->window(); }
  std::uint64_t now() const override { return world_->now(); }
  Audit& audit() override { return world_->audit(); }
  const Rules& rules() const override { return world_->rules(); }
  Random& random() override { return world_->random(); }

  // Scheduled by the World, at most once each: by peer, and for the application.
  struct Scheduled {
    bool timer = false;
    bool ack = false;
  };
  std::vector<Scheduled> scheduled;
  bool application_scheduled = false;

 private:
  void become_live(std::uint32_t epoch);
  /// The peer's memory was lost: the channel to it is over.
  void replace(const Record& record);

  Surroundings* world_;
  CopyId id_;
  State state_ = State::live;
  Record self_;
  std::vector<Record> directory_;  // as it was told: may be out of date
  std::vector<std::unique_ptr<SimChannel>> channels_;
};

}  // namespace godwit::simulator
