// Channel: what the engine keeps for one pair of endpoints around the protocol core.
//
// Owned by the engine and used on its thread only. Memory when idle: sizeof(Channel) and its
// entries in three tables (docs/architecture.md has the formula); queues live in the engine's frame
// pool, and the table of calls exists only once the channel has carried a call.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "channel/channel_core.h"
#include "godwit/endpoint_id.h"
#include "godwit/error.h"
#include "godwit/fabric/frame_pool.h"
#include "godwit/message.h"

namespace godwit::fabric {
class Connection;
}

namespace godwit {

struct Channel;
struct PeerLink;
struct LocalEndpoint;

/// A call that waits for its reply.
struct PendingCall {
  using Complete = void (*)(PendingCall& call, Result<Message>&& result);
  explicit PendingCall(Complete how) : complete(how) {}

  Complete complete;
  Channel* channel = nullptr;  // null once completed
  channel::Number number = 0;
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
};

struct Channel {
  using Clock = std::chrono::steady_clock;
  using Calls = std::array<PendingCall*, channel::kWindow>;

  explicit Channel(const channel::ChannelCore& initial) : core(initial) {}

  EndpointId remote;
  LocalEndpoint* local = nullptr;
  std::uint32_t index = 0;
  std::uint32_t serial = 0;  // of the index: a Remote or Request of a former channel does not match

  channel::ChannelCore core;
  fabric::Connection* connection = nullptr;  // of the present session
  PeerLink* link = nullptr;                  // where the peer's engine is, if known

  struct Outgoing {
    fabric::FrameQueue retained;      // from acknowledged() to next()
    fabric::Frame* unsent = nullptr;  // the frame of number sent(), null if none
  };
  std::array<Outgoing, 2> out;     // by Stream
  std::uint32_t told[2] = {1, 1};  // the acknowledgements that the peer was sent last
  fabric::FrameQueue messages;     // arrived, not taken
  fabric::FrameQueue requests;
  fabric::FrameQueue replies_waiting;  // for a slot in the window
  Channel* next_ready = nullptr;       // the endpoint's list of channels with something to take
  std::unique_ptr<Calls> calls;        // by number modulo the window
  std::uint32_t calls_waiting = 0;

  // Notifications: bits with a number of their own, one frame in flight.
  std::uint64_t notify_waiting = 0;  // to be sent with the next one
  std::uint64_t notify_flying = 0;   // sent, not acknowledged
  std::uint32_t notify_number = 0;   // of the one in flight
  std::uint32_t notify_seen = 0;     // the last one taken from the peer
  std::uint64_t notify_arrived = 0;  // bits for our application

  Clock::time_point timer = Clock::time_point::max();  // when the engine looks at it
  Clock::time_point ends = Clock::time_point::max();   // the directory said that the peer is gone
  std::chrono::milliseconds backoff{0};
  channel::Number probed_at[2] = {0, 0};  // acknowledged() at the last look: has it moved?

  channel::Number reported[2] = {0, 0};  // what the peer said has arrived, when last asked

  channel::Number gap_told[2] = {0, 0};  // arrived() when a gap was last reported
  unsigned unanswered = 0;               // probes since the peer was last heard

  bool in_ready = false;
  bool in_pump = false;
  bool ack_due = false;
  bool mirror = false;          // LocalEndpoint::mirror: never starts a session
  bool dead = false;            // the peer is gone; kept while its messages are not taken
  bool parked = false;          // the endpoint moves: nothing is accepted or taken
  bool redirect = false;        // the endpoint comes to this place, and the peer is to be told
  bool grant_untold = false;    // the peer is attached to this place, but does not know it granted
  bool locating = false;        // the directory was asked
  bool lost = false;            // of `ends`: with its process or node, not by an unbind
  bool all_received = false;    // when it died: nothing that was sent was still unacknowledged
  std::uint32_t executing = 0;  // requests that the application has and did not answer
  std::uint32_t copies = 0;     // one-sided copies that use this channel
  std::uint32_t orphans = 0;    // leases of the peer's whose end it must still confirm
  std::uint32_t watchers = 0;   // waits for this very peer

  /// How the peer's frames name this channel: its index, and enough of the serial that a frame
  /// which is late for a former channel of the index does not reach this one.
  static constexpr std::uint32_t kIndexBits = 20;
  static constexpr std::uint32_t kMaxChannels = 1u << kIndexBits;
  std::uint32_t wire_index() const noexcept { return serial << kIndexBits | index; }

  bool has_input() const noexcept { return !messages.empty() || !requests.empty(); }
  /// Whether the application has taken something that the peer was not told of.
  bool owes_ack() const noexcept {
    return core.in(channel::Stream::messages).received() != told[0] ||
           core.in(channel::Stream::replies).received() != told[1];
  }
  bool all_acknowledged() const noexcept {
    return core.out(channel::Stream::messages).empty() && notify_flying == 0 && notify_waiting == 0;
  }
  /// Whether a session may be started. Of an endpoint that moves: at the place where it arrives.
  bool may_attach() const noexcept {
    return !dead && !mirror && (!parked || redirect) &&
           core.state() == channel::ChannelCore::State::detached;
  }
  bool has_unsent() const noexcept { return out[0].unsent != nullptr || out[1].unsent != nullptr; }
  /// Whether somebody waits for the peer: then a lost connection is worth a reconnect now.
  bool wanted() const noexcept {
    return !dead && (redirect || calls_waiting != 0 || copies != 0 || orphans != 0 ||
                     watchers != 0 || notify_waiting != 0 || notify_flying != 0 ||
                     !core.out(channel::Stream::messages).empty() ||
                     !core.out(channel::Stream::replies).empty());
  }
};

}  // namespace godwit
