// How channel frames lie in a FrameHeader (docs/wire-format.md). Little endian, like the rest.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "channel/channel_core.h"
#include "godwit/endpoint_id.h"
#include "godwit/fabric/frame.h"
#include "godwit/grant.h"

namespace godwit::wire {

enum class Type : std::uint8_t {
  // Sequenced, in the stream of messages.
  message = 1,
  request = 2,
  // Sequenced, in the stream of replies; `call` is the request's number.
  reply = 3,
  // Not sequenced.
  ack = 4,
  notify = 5,         // payload: 8 bytes of bits; `number` counts notifications
  notify_ack = 6,     // `number` of the notification
  attach = 7,         // payload: Attach
  attach_answer = 8,  // payload: Attach
  refused = 9,        // payload: Refused
  closed = 10,        // the sender's endpoint is unbound
  probe = 11,         // `number`, `call`: what the sender has transmitted of messages and replies
  report = 12,        // payload: Attach; `number`, `call` as in the probe
  copy_request = 13,  // payload: CopyRequest; `call` is the requester's token, as in all of copy_*
  copy_answer = 14,   // payload: CopyAnswer
  copy_data = 15,     // payload: bytes; acks hold the offset
  copy_end = 16,      // the requester no longer touches the owner's memory
  copy_lease = 17,    // payload: CopyLease; only with the feature
  copy_recall = 18,   // the owner wants the lease back: end it, and ask again
};

enum Flags : std::uint8_t {
  kAckNow = 1,   // the sender waits for the acknowledgement
  kToOwner = 2,  // copy_data: from requester to owner
  kGranted = 4,  // report: the endpoint has come to this place, and serves from now on
};

/// A view of the 24 bytes that are ours.
struct Header {
  Type type{};
  std::uint8_t flags = 0;
  std::uint16_t status = 0;   // Errc of a reply that is an error, 0 otherwise
  std::uint32_t channel = 0;  // the receiver's number of the channel
  std::uint32_t number = 0;
  std::uint32_t ack_messages = 0;  // all before were received by the sender's application
  std::uint32_t ack_replies = 0;
  std::uint32_t call = 0;
};
static_assert(sizeof(Header) == 24 && std::is_trivially_copyable_v<Header>);

inline Header header_of(const fabric::FrameHeader& frame) noexcept {
  const fabric::HeaderWords words = fabric::load_words(&frame);
  Header header;
  header.type = static_cast<Type>(words[1] & 0xff);
  header.flags = static_cast<std::uint8_t>(words[1] >> 8);
  header.status = static_cast<std::uint16_t>(words[1] >> 16);
  header.channel = static_cast<std::uint32_t>(words[1] >> 32);
  header.number = static_cast<std::uint32_t>(words[2]);
  header.ack_messages = static_cast<std::uint32_t>(words[2] >> 32);
  header.ack_replies = static_cast<std::uint32_t>(words[3]);
  header.call = static_cast<std::uint32_t>(words[3] >> 32);
  return header;
}
/// Leaves the fabric's part alone.
inline void set_header(fabric::FrameHeader& frame, const Header& header) noexcept {
  const auto pair = [](std::uint32_t low, std::uint32_t high) {
    return low | std::uint64_t{high} << 32;
  };
  const std::uint32_t kind = static_cast<std::uint32_t>(header.type) |
                             std::uint32_t{header.flags} << 8 | std::uint32_t{header.status} << 16;
  fabric::store_words(
      &frame, {pair(frame.length, frame.fabric), pair(kind, header.channel),
               pair(header.number, header.ack_messages), pair(header.ack_replies, header.call)});
}

struct Attach {
  EndpointId source;  // of the sender
  EndpointId target;
  std::uint32_t session;
  std::uint32_t index;
  std::uint64_t lineage;
  std::uint32_t epoch;
  std::uint32_t arrived[2];
  std::uint32_t received[2];
  std::uint32_t first_aboard;  // of an attach: the number of the first reply behind this
};
static_assert(sizeof(Attach) == 64);

/// A reply aboard an attach, without its number: they follow each other. Its bytes are next.
struct Aboard {
  std::uint32_t call;
  std::uint16_t status;
  std::uint16_t length;
};
static_assert(sizeof(Aboard) == 8);

enum class RefusedReason : std::uint32_t {
  gone = 1,
  stale_epoch = 2,
  lineage_lost = 3,
  superseded = 4,
  moved = 5,  // the directory knows where to
};

struct Refused {
  EndpointId source;  // of the sender: the endpoint that was asked for
  EndpointId target;
  RefusedReason reason;
  std::uint32_t session;  // superseded: the one that the sender knows; otherwise the refused one
};
static_assert(sizeof(Refused) == 32);

enum class CopyOperation : std::uint32_t {
  read = 1,        // owner: stream the bytes to me
  write = 2,       // owner: make ready, I stream the bytes to you
  lease_read = 3,  // owner: let me read your memory myself; only with the feature
  lease_write = 4,
  delegate = 5,   // owner: make a grant of this range for `third`, with the key `third_key`
  push = 6,       // owner: copy this range into the grant `third_*`
  give_back = 7,  // owner: the grant that you made for a third party is not needed any more
};

struct CopyRequest {
  CopyOperation operation;
  std::uint32_t reserved;
  std::uint64_t key;
  std::uint64_t offset;
  std::uint64_t length;
  EndpointId third;
  std::uint32_t reserved2;
  std::uint64_t third_key;
  std::uint64_t third_offset;
};
static_assert(sizeof(CopyRequest) == 64);

struct CopyAnswer {
  std::uint64_t value;   // delegate: the new grant's key
  std::uint32_t status;  // Errc, 0: ok
  std::uint32_t final;   // 1: the copy is over; 0: go on (ready to be written)
};
static_assert(sizeof(CopyAnswer) == 16);

/// What the requester may touch by itself. It says when it does not any more (copy_end), and asks
/// again for what is missing.
struct CopyLease {
  std::uint64_t address;
  std::uint64_t length;  // of the first bytes that were asked for; 0: none, they must be streamed
  std::uint32_t key;
  std::uint32_t reserved;
};
static_assert(sizeof(CopyLease) == 24);

template <typename T>
bool decode(std::span<const std::byte> payload, T& out) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  if (payload.size() != sizeof(T)) return false;
  std::memcpy(&out, payload.data(), sizeof(T));
  return true;
}

/// Takes the first reply off what is aboard an attach; is_aboard() must hold.
inline std::pair<Aboard, std::span<const std::byte>> next_aboard(
    std::span<const std::byte>& aboard) noexcept {
  Aboard reply;
  std::memcpy(&reply, aboard.data(), sizeof reply);
  const auto bytes = aboard.subspan(sizeof reply, reply.length);
  aboard = aboard.subspan(sizeof reply + reply.length);
  return {reply, bytes};
}
/// Whether these bytes are replies, whole ones.
inline bool is_aboard(std::span<const std::byte> aboard) noexcept {
  while (!aboard.empty()) {
    Aboard reply;
    if (aboard.size() < sizeof reply) return false;
    std::memcpy(&reply, aboard.data(), sizeof reply);
    if (aboard.size() - sizeof reply < reply.length) return false;
    aboard = aboard.subspan(sizeof reply + reply.length);
  }
  return true;
}

inline Attach to_wire(const channel::AttachState& state, EndpointId source,
                      EndpointId target) noexcept {
  return {source,
          target,
          state.session,
          state.index,
          state.lineage,
          state.epoch,
          {state.arrived[0], state.arrived[1]},
          {state.received[0], state.received[1]},
          0};
}
inline channel::AttachState from_wire(const Attach& attach) noexcept {
  channel::AttachState state;
  state.session = attach.session;
  state.index = attach.index;
  state.epoch = attach.epoch;
  state.lineage = attach.lineage;
  for (int i = 0; i < 2; ++i) {
    state.arrived[i] = attach.arrived[i];
    state.received[i] = attach.received[i];
  }
  return state;
}

}  // namespace godwit::wire
