// ChannelCore: the protocol of a channel as a pure state machine. No I/O, no clock, no allocation.
//
// A channel joins a local endpoint to a remote one and outlives connections, transports and moves.
// It has two streams in each direction, each with its own window: messages (sends and requests,
// taken by the application) and replies (taken as they arrive: the caller waits for them). The
// retained reply is the completion record of its request (RIFL, SOSP 2015): a request that is sent
// again is a duplicate, and its reply comes again from the window.
//
// A *session* is one attachment of the channel to a connection. Either side may start one, by an
// attach that carries a number above every session it knows, and its side of both windows; the
// other answers with its own, and both send again what the other has not. When both start one at
// once, the one of the smaller endpoint wins; a start that is not above what the other knows is
// answered with what it knows, and is repeated above that. A side never goes back to a lower
// number. Frames count only on the connection of the present session.
//
// Epoch and lineage: an attach from a lower epoch than known comes from a place the endpoint has
// left and is refused; one with another lineage means that the endpoint's memory was lost, and ends
// the channel.
//
// The driver (engine or simulator) owns the messages: it keeps one FIFO of retained frames per
// outgoing stream, in step with the SendWindow.
#pragma once

#include <cstdint>

#include "channel/window.h"

namespace godwit::channel {

enum class Stream : std::uint8_t { messages = 0, replies = 1 };

/// What an attach, its answer and a state report tell.
struct AttachState {
  std::uint32_t session = 0;
  std::uint32_t index = 0;      // the sender's number for this channel: frames to it carry it
  std::uint32_t epoch = 0;      // of the sender's endpoint
  std::uint64_t lineage = 0;    // of the sender's endpoint
  Number arrived[2] = {1, 1};   // by stream: what need not be sent again
  Number received[2] = {1, 1};  // by stream: the acknowledgement
};

enum class AttachVerdict : std::uint8_t {
  accept,        // the session is on; answer if it was an attach
  ignore,        // nothing is to be done: it is late, or loses against the session started here
  superseded,    // a later session is known: answer so (on_superseded), or start one above it
  stale_epoch,   // refuse: the sender is not where the endpoint is now
  lineage_lost,  // the peer lost its memory: the channel is over
  invalid,       // breaks the protocol
};

/// A channel's core as it moves with its endpoint.
struct CoreImage {
  std::uint32_t session = 0;
  std::uint64_t peer_lineage = 0;
  std::uint32_t peer_epoch = 0;
  struct {
    Number acknowledged = 1;
    std::uint32_t retained = 0;
  } out[2];
  struct {
    Number received = 1;
    Number arrived = 1;  // `received`, or above it by what moves of the inbox
    ReceiveWindow::Taken taken{};
  } in[2];
};

class ChannelCore {
 public:
  enum class State : std::uint8_t { detached, attaching, attached };

  /// `first` is the number of the first message of each stream; both ends have the same.
  ChannelCore(std::uint64_t own_lineage, std::uint32_t own_epoch, bool smaller,
              Number first = 1) noexcept
      : own_lineage_(own_lineage),
        own_epoch_(own_epoch),
        smaller_(smaller),
        out_{SendWindow{first}, SendWindow{first}},
        in_{ReceiveWindow{first}, ReceiveWindow{first}} {}

  /// The core at the new place. It may have sessions at once; on_granted() says when it is the
  /// endpoint's.
  ChannelCore(std::uint64_t own_lineage, std::uint32_t own_epoch, bool smaller,
              const CoreImage& image) noexcept
      : ChannelCore(own_lineage, own_epoch, smaller) {
    session_ = image.session;
    peer_lineage_ = image.peer_lineage;
    peer_epoch_ = image.peer_epoch;
    for (int stream = 0; stream < 2; ++stream) {
      out_[stream] =
          SendWindow::restored(image.out[stream].acknowledged, image.out[stream].retained);
      const auto& in = image.in[stream];
      in_[stream] = ReceiveWindow::restored(in.received, in.arrived, in.taken);
    }
  }

  /// What moves: all but the connection of the present session. What had arrived and was not taken
  /// moves if the driver moves the messages, and says so in `arrived`; the peer sends the rest
  /// again.
  CoreImage image() const noexcept {
    CoreImage image;
    image.session = session_;
    image.peer_lineage = peer_lineage_;
    image.peer_epoch = peer_epoch_;
    for (int stream = 0; stream < 2; ++stream) {
      image.out[stream] = {out_[stream].acknowledged(), out_[stream].retained()};
      image.in[stream] = {in_[stream].received(), in_[stream].received(), in_[stream].taken()};
    }
    return image;
  }

  State state() const noexcept { return state_; }
  bool attached() const noexcept { return state_ == State::attached; }
  bool detached() const noexcept { return state_ == State::detached; }
  std::uint32_t session() const noexcept { return session_; }
  std::uint32_t peer_index() const noexcept { return peer_index_; }
  std::uint64_t own_lineage() const noexcept { return own_lineage_; }
  std::uint32_t own_epoch() const noexcept { return own_epoch_; }
  std::uint64_t peer_lineage() const noexcept { return peer_lineage_; }
  std::uint32_t peer_epoch() const noexcept { return peer_epoch_; }

  SendWindow& out(Stream stream) noexcept { return out_[index_of(stream)]; }
  const SendWindow& out(Stream stream) const noexcept { return out_[index_of(stream)]; }
  ReceiveWindow& in(Stream stream) noexcept { return in_[index_of(stream)]; }
  const ReceiveWindow& in(Stream stream) const noexcept { return in_[index_of(stream)]; }

  /// The directory said where the peer is; a lower epoch than known is out of date and ignored.
  /// True: the peer has left the place that the present session is with; the session is over.
  bool expect_peer(std::uint64_t lineage, std::uint32_t epoch) noexcept {
    const bool known = peer_lineage_ != 0;
    if (!known) peer_lineage_ = lineage;
    if (epoch <= peer_epoch_) return false;
    const bool over = known && state_ != State::detached;
    peer_epoch_ = epoch;
    if (over) state_ = State::detached;
    return over;
  }

  /// This is the endpoint now, at its new place. Its sessions go on, and what has arrived in them
  /// waits to be taken. Until then nothing was taken here, and no number was given out.
  void on_granted(std::uint32_t new_epoch) noexcept { own_epoch_ = new_epoch; }

  /// This endpoint goes on at the old place after a move that was given up: its sessions are over.
  /// What the application had not taken is sent again by the peer.
  void on_moved(std::uint32_t new_epoch) noexcept {
    own_epoch_ = new_epoch;
    for (SendWindow& window : out_) window.on_moved();
    for (ReceiveWindow& window : in_) window.forget_untaken();
    started_here_ = false;
    state_ = State::detached;
  }

  /// The connection of the session is gone.
  void on_detached() noexcept { state_ = State::detached; }

  /// Starts a session; send the answer as an attach.
  AttachState start_session(std::uint32_t own_index) noexcept {
    ++session_;
    started_here_ = true;
    state_ = State::attaching;
    return report(own_index);
  }

  /// What this side has, for an answer to an attach or a probe.
  AttachState report(std::uint32_t own_index) const noexcept {
    AttachState state;
    state.session = session_;
    state.index = own_index;
    state.epoch = own_epoch_;
    state.lineage = own_lineage_;
    for (int stream = 0; stream < 2; ++stream) {
      state.arrived[stream] = in_[stream].arrived();
      state.received[stream] = in_[stream].received();
    }
    return state;
  }

  /// Freed slots and resent messages by stream, for the driver's queues and counters.
  struct Effect {
    AttachVerdict verdict = AttachVerdict::ignore;
    std::uint32_t freed[2] = {0, 0};
    std::uint32_t resent[2] = {0, 0};
  };

  /// The peer started a session.
  Effect on_attach(const AttachState& peer) noexcept {
    Effect effect;
    effect.verdict = check(peer);
    if (effect.verdict != AttachVerdict::accept) return effect;
    const std::int32_t newer = static_cast<std::int32_t>(peer.session - session_);
    if (newer == 0 && state_ == State::attaching && smaller_) {
      effect.verdict = AttachVerdict::ignore;  // the peer yields when it sees ours
      return effect;
    }
    const bool yields = newer == 0 && started_here_ && !smaller_ && state_ != State::attached;
    if (newer <= 0 && !yields) {
      effect.verdict = AttachVerdict::superseded;
      return effect;
    }
    adopt(peer, effect);
    if (effect.verdict == AttachVerdict::accept) {
      session_ = peer.session;
      started_here_ = false;
    }
    return effect;
  }

  /// The peer started a session that cannot be answered yet: it may know the epoch of a grant that
  /// this place is still waiting for, and would take the answer for one of a place that was left.
  /// The next session from here is above it.
  void put_off(const AttachState& peer) noexcept {
    if (static_cast<std::int32_t>(peer.session - session_) < 0) return;
    session_ = peer.session;
    started_here_ = false;
    state_ = State::detached;
  }

  /// The peer answered the session started here.
  Effect on_attach_answer(const AttachState& peer) noexcept {
    Effect effect;
    effect.verdict = check(peer);
    if (effect.verdict != AttachVerdict::accept) return effect;
    if (state_ != State::attaching || peer.session != session_ || !started_here_) {
      effect.verdict = AttachVerdict::ignore;
      return effect;
    }
    adopt(peer, effect);
    return effect;
  }

  /// The peer knows a session that is not below the one started here. True: another must be started
  /// (it will be above the peer's). False: it is about an earlier start.
  bool on_superseded(std::uint32_t peer_session) noexcept {
    const std::int32_t newer = static_cast<std::int32_t>(peer_session - session_);
    if (state_ != State::attaching || newer < 0) return false;
    session_ = peer_session;
    started_here_ = false;
    state_ = State::detached;
    return true;
  }

  /// The peer's state within the present session (the answer to a probe, or its complaint of a
  /// gap): whatever it lacks is sent again.
  Effect on_report(const AttachState& peer) noexcept {
    Effect effect;
    effect.verdict = check(peer);
    if (effect.verdict != AttachVerdict::accept) return effect;
    if (state_ != State::attached || peer.session != session_) {
      effect.verdict = AttachVerdict::ignore;
      return effect;
    }
    adopt(peer, effect);
    return effect;
  }

 private:
  static constexpr int index_of(Stream stream) noexcept { return static_cast<int>(stream); }

  AttachVerdict check(const AttachState& peer) const noexcept {
    if (peer.epoch < peer_epoch_) return AttachVerdict::stale_epoch;
    if (peer_lineage_ != 0 && peer.lineage != peer_lineage_) return AttachVerdict::lineage_lost;
    return AttachVerdict::accept;
  }

  void adopt(const AttachState& peer, Effect& effect) noexcept {
    for (int stream = 0; stream < 2; ++stream) {
      if (!out_[stream].may_have(peer.arrived[stream]) ||
          distance(peer.received[stream], peer.arrived[stream]) < 0) {
        effect.verdict = AttachVerdict::invalid;
        return;
      }
    }
    for (int stream = 0; stream < 2; ++stream) {
      effect.resent[stream] = out_[stream].rewind(peer.arrived[stream]);
      effect.freed[stream] = out_[stream].on_ack(peer.received[stream]).freed;
    }
    peer_index_ = peer.index;
    peer_lineage_ = peer.lineage;
    peer_epoch_ = peer.epoch;
    state_ = State::attached;
  }

  State state_ = State::detached;
  bool started_here_ = false;
  std::uint32_t session_ = 0;
  std::uint32_t peer_index_ = 0;
  std::uint64_t own_lineage_;
  std::uint32_t own_epoch_;
  bool smaller_;  // this endpoint's id is the smaller of the two
  std::uint64_t peer_lineage_ = 0;
  std::uint32_t peer_epoch_ = 0;
  SendWindow out_[2];
  ReceiveWindow in_[2];
};

}  // namespace godwit::channel
