// What the verbs transport puts on the wire. Pure: bytes in, facts out.
//
// Every message is one SEND with immediate: 32 bytes of FrameHeader, then the message's own bytes,
// at most kSmallPayload of them. The immediate is the receiver's link, which the receiver told in
// the private data of the connection manager. FrameHeader::fabric is the control word: the kind of
// the message and what the sender of it acknowledges on the way, in every message.
//
//   bits 0 to 11    receive buffers that are free again (credits)
//   bits 12 to 23   announced payloads that have been fetched
//   bits 24 to 27   kind
//   bits 28 to 31   0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/fabric/frame.h"

namespace godwit::fabric::verbs {

enum class Kind : std::uint8_t {
  frame = 1,      // a frame with its payload (at most kSmallPayload)
  handshake = 2,  // a message of the handshake; header.length: its bytes
  update = 3,     // nothing but the acknowledgements
  announce = 4,   // a frame whose payload waits to be fetched: an Announce follows
  begin = 5,      // a frame with the first kSmallPayload bytes of its payload ...
  more = 6,       // ... and the next; header.length: bytes in this message
  goodbye = 7,    // nothing follows
};

struct Control {
  Kind kind{};
  std::uint32_t credits = 0;
  std::uint32_t fetched = 0;

  static constexpr std::uint32_t kMax = 0xfff;  // of credits, of fetched
};

constexpr std::uint32_t pack(const Control& control) noexcept {
  return control.credits | control.fetched << 12 | static_cast<std::uint32_t>(control.kind) << 24;
}
/// Nullopt for a kind not known here.
constexpr std::optional<Control> unpack(std::uint32_t word) noexcept {
  const std::uint32_t kind = word >> 24;
  if (kind < 1 || kind > 7) return std::nullopt;
  return Control{static_cast<Kind>(kind), word & Control::kMax, word >> 12 & Control::kMax};
}

/// Of a message as it came. `body` refers to its bytes behind the header.
struct Message {
  FrameHeader header;  // `fabric` is 0 again
  Control control;
  std::span<const std::byte> body;
};

/// Checks what can be checked without knowing the connection: that the length fits the kind, and
/// that no payload is longer than `max_payload`. Nullopt: the peer breaks the protocol.
std::optional<Message> parse(std::span<const std::byte> bytes, std::uint32_t max_payload) noexcept;

/// Where the payload of an announced frame lies in its sender, and the keys to it.
///
/// The sender's memory is registered in chunks of 2^chunk_bits bytes, of which the payload touches
/// one or more that follow each other; key i belongs to the i-th. kWhole: one key for all of it.
struct Announce {
  std::uint64_t address = 0;
  std::uint64_t skipped = 0;  // bytes of the first chunk that lie before the address
  std::uint32_t chunk_bits = 0;
  std::vector<std::uint32_t> keys;

  static constexpr std::uint32_t kWhole = 63;
  static constexpr std::uint32_t kMinChunkBits = 16, kMaxChunkBits = 40;
  static constexpr std::size_t kFixed = 24;
  static constexpr std::size_t kMaxKeys = (kSmallPayload - kFixed) / sizeof(std::uint32_t);

  /// Bytes of encode().
  std::size_t size() const noexcept { return kFixed + keys.size() * sizeof(std::uint32_t); }
  void encode(std::byte* to) const noexcept;
  /// Nullopt unless the keys are exactly those of `length` bytes at the address.
  static std::optional<Announce> decode(std::span<const std::byte> body, std::uint32_t length);

  struct Piece {
    std::uint64_t address;
    std::uint32_t key;
    std::uint64_t size;  // bytes that this key reaches from here on
  };
  /// The piece `offset` bytes into a payload of `length`; `offset` must be below `length`.
  Piece piece(std::uint64_t offset, std::uint64_t length) const noexcept;
};

/// Chunks of 2^bits bytes that `length` bytes from `offset` on touch. `length` must not be 0.
constexpr std::uint64_t chunks_of(std::uint64_t offset, std::uint64_t length,
                                  std::uint32_t bits) noexcept {
  return ((offset + length - 1) >> bits) - (offset >> bits) + 1;
}

/// The connection manager's private data, both ways. It may arrive longer than it was sent.
struct Introduction {
  std::uint32_t link = 0;  // the immediate of messages to its sender

  static constexpr std::size_t kSize = 12;
  std::string encode() const;
  static std::optional<Introduction> decode(std::string_view bytes) noexcept;
};

/// The handshake's transport_data: how many receive buffers its sender keeps for the peer.
std::string encode_window(std::uint32_t window);
std::optional<std::uint32_t> decode_window(std::string_view bytes) noexcept;

}  // namespace godwit::fabric::verbs
