// SimChannel: the driver of one ChannelCore in the simulated world, as the engine is in the real
// one.
//
// It keeps to docs/channel.md, "What the driver must do", and to nothing else. Owned by a Copy of
// an endpoint; a copy of the endpoint copies its channels, with all that they retain.
#pragma once

#include <cstdint>
#include <vector>

#include "audit.h"
#include "frame.h"
#include "random.h"
#include "rules.h"

namespace godwit::simulator {

class SimChannel;

/// What a driver asks of its surroundings.
class Host {
 public:
  virtual ~Host() = default;

  virtual void post(ConnectionId connection, const Frame& frame) = 0;
  /// A connection to where the peer is thought to be; answered by on_opened(), or never.
  virtual void dial(SimChannel& channel) = 0;
  virtual void set_timer(SimChannel& channel) = 0;
  virtual void owe_ack(SimChannel& channel) = 0;
  /// There is something for the application to take.
  virtual void wake_application() = 0;
  /// Whether the endpoint executes here: not while it moves, and never again at a place it left.
  virtual bool gate_open() const = 0;
  /// Whether it waits to be granted: then it starts sessions, and answers none.
  virtual bool arriving() const = 0;
  virtual std::uint32_t window() const = 0;
  virtual std::uint64_t now() const = 0;
  virtual Audit& audit() = 0;
  virtual const Rules& rules() const = 0;
  virtual Random& random() = 0;
};

class SimChannel {
 public:
  SimChannel(Host& host, Identity own, Identity peer, std::uint64_t lineage, std::uint32_t epoch,
             Number first);

  Identity peer() const noexcept { return peer_; }
  const ChannelCore& core() const noexcept { return core_; }
  ConnectionId connection() const noexcept { return connection_; }

  // The application's side. False: back-pressure, or nothing to do.
  bool send(Kind kind);  // message or request
  bool notify();
  bool take(bool requests_only);
  bool reply(std::uint32_t choice);    // to one of the requests taken
  bool abandon(std::uint32_t choice);  // one of the calls under way: its deadline has passed
  bool has_input() const noexcept { return !inbox_.empty(); }
  bool owes_replies() const noexcept { return !executing_.empty(); }

  // The network's side.
  void on_opened(ConnectionId connection);
  void on_broken(ConnectionId connection);
  void on_frame(ConnectionId connection, const Frame& frame);
  void on_timer();
  void flush_ack();

  // The directory's side.
  void on_directory(std::uint64_t lineage, std::uint32_t epoch);
  void on_peer_died();

  /// This is a copy of the endpoint, surrounded by `host`, that may become the endpoint.
  void install(Host& host);
  /// It has: what arrived here meanwhile counts.
  void on_granted(std::uint32_t epoch);
  /// The endpoint goes on at its old place.
  void on_resumed(std::uint32_t epoch);
  /// A copy left behind at the old place wakes up and meddles.
  void haunt();

 private:
  /// Through the image, as between two processes: what it leaves out is not needed. The first
  /// `kept` of the inbox move.
  void pass_through_image(std::size_t kept);

  struct Call {
    std::uint32_t entry;
    Number number;
    bool abandoned;
  };

  Frame make(FrameType type) const;
  AttachState own_state() const;
  void start_session(ConnectionId connection);
  void take_aboard(Frame& attach);
  void leave_session();
  void apply(const ChannelCore::Effect& effect);
  void release(Stream stream, std::uint32_t count);
  bool adopt_acks(const Frame& frame);
  void pump();
  void send_notification();
  void tell_grant();
  void heard(const Frame& frame);
  void report_gap(Stream stream);
  void taken(const Sequenced& message);
  void take_reply(const Sequenced& reply);
  void invalid(const char* what);
  bool wanted() const noexcept;

  void on_attach(ConnectionId connection, const Frame& frame);
  void on_attach_answer(const Frame& frame);
  void on_sequenced(const Sequenced& message);
  void on_notification(const Frame& frame);
  bool is_present(ConnectionId connection) const noexcept;

  Host* host_;
  Identity own_;
  Identity peer_;
  ChannelCore core_;
  ConnectionId connection_ = kNoConnection;  // that the present session is (or is being put) on

  std::vector<Sequenced> retained_[2];  // by stream, from acknowledged() to next()
  std::vector<Sequenced> inbox_;        // messages and requests that arrived and were not taken
  std::vector<Sequenced> executing_;    // requests taken, not yet replied to
  std::vector<Call> calls_;

  std::uint64_t notify_waiting_ = 0;
  std::uint64_t notify_flying_ = 0;
  std::uint32_t notify_number_ = 0;
  std::uint32_t notify_seen_ = 0;

  bool ack_due_ = false;
  std::uint64_t next_report_[2] = {0, 0};  // not before this time
  Number progress_[2] = {0, 0};            // acknowledged() when the timer last looked
  unsigned unanswered_ = 0;                // probes
  bool attach_waits_ = false;              // since the last timer: one more means a time-out
  bool grant_untold_ = false;              // the peer does not know this place granted
  std::uint32_t known_epoch_ = 0;  // for the audit: what the driver was told, whatever the core did
};

}  // namespace godwit::simulator
