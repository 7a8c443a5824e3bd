// What travels between two simulated endpoints: the frames of docs/channel.md, without bytes.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "channel/channel_core.h"

namespace godwit::simulator {

using channel::AttachState;
using channel::AttachVerdict;
using channel::ChannelCore;
using channel::Number;
using channel::ReceiveWindow;
using channel::Stream;

inline constexpr Stream kStreams[] = {Stream::messages, Stream::replies};

/// An endpoint of the simulated world and the generation of its memory.
struct Identity {
  std::uint32_t endpoint = 0;
  std::uint32_t generation = 0;

  auto operator<=>(const Identity&) const = default;  // NOLINT(modernize-use-nullptr): false alarm
};

enum class Kind : std::uint8_t {
  message,
  request,
  reply,
  empty,  // a request that was cancelled before it was transmitted: only keeps its number
};

/// A message in a stream. `entry` stands for the payload: the audit's name for what was accepted.
struct Sequenced {
  Stream stream = Stream::messages;
  Number number = 0;
  Kind kind = Kind::message;
  Number call = 0;  // of a reply: the request's number
  std::uint32_t entry = 0;
};

enum class FrameType : std::uint8_t {
  sequenced,
  ack,
  probe,
  report,
  attach,
  attach_answer,
  superseded,   // `state.session`
  stale_epoch,  // the sender of the attach has moved elsewhere
  gone,         // no such generation here
  notification,
  notification_ack,
};

using ConnectionId = std::uint32_t;
inline constexpr ConnectionId kNoConnection = ~0u;

struct Frame {
  FrameType type = FrameType::ack;
  Identity source;
  Identity target;
  AttachState state;
  Sequenced sequenced;
  std::vector<Sequenced> aboard;  // replies, of an attach
  Number acks[2] = {0, 0};        // by stream, in sequenced, ack and probe
  std::uint32_t notification = 0;
  std::uint64_t bits = 0;
  std::uint32_t witness_epoch = 0;  // the sender's, for the audit alone: not part of the protocol
};

}  // namespace godwit::simulator
