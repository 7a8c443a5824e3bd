// What the ucx transport puts on the wire, on top of UCX's own bytes.
//
// Three active messages. A handshake message carries one message of Handshake as its data and no
// header; UCX names the connection by its reply endpoint. A frame carries a WireHeader as its AM
// header and the payload as its data. A goodbye, empty, follows the last frame: see UcxTransport.
//
// A frame names its connection by a key that the receiver chose and told in the handshake (under
// the proof), not by UCX's reply endpoint: that saves UCX's lookup, and a late frame of a closed
// connection, or one of another peer that guesses, fits no key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "godwit/fabric/frame.h"

namespace godwit::fabric::ucx {

inline constexpr unsigned kHandshakeAm = 0;
inline constexpr unsigned kFrameAm = 1;
inline constexpr unsigned kGoodbyeAm = 2;

/// Low half: index in the receiver's table. High half: random, so that no key is used twice.
using ConnectionKey = std::uint64_t;

struct WireHeader {
  FrameHeader frame;  // `fabric` holds the frame's sequence number: 0 for the first, then + 1
  ConnectionKey key = 0;
};
static_assert(sizeof(WireHeader) == 40);

/// The header of a frame as it came; nullopt if it is none.
inline std::optional<WireHeader> decode_header(std::span<const std::byte> bytes) noexcept {
  WireHeader header;
  if (bytes.size() != sizeof header) [[unlikely]]
    return std::nullopt;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

/// Whether `length` bytes of data, eager or by rendezvous, can be what a header tells of.
inline bool fits(const WireHeader& header, std::size_t length, bool rendezvous,
                 std::uint32_t max_payload) noexcept {
  return length == header.frame.length && length <= max_payload &&
         (!rendezvous || length > kSmallPayload);
}

/// The handshake's transport_data: the key for frames to its sender.
inline std::string encode_key(ConnectionKey key) {
  return std::string(reinterpret_cast<const char*>(&key), sizeof key);
}
inline std::optional<ConnectionKey> decode_key(std::string_view bytes) {
  ConnectionKey key = 0;
  if (bytes.size() != sizeof key) return std::nullopt;
  std::memcpy(&key, bytes.data(), sizeof key);
  return key;
}

/// A sender has at most this many frames behind an unfinished rendezvous (would_block above it),
/// and a receiver holds back at most twice as many: its last receives end a little after the
/// sender's.
inline constexpr std::uint32_t kSendWindow = 1024;
inline constexpr std::uint32_t kReceiveWindow = 2 * kSendWindow;

}  // namespace godwit::fabric::ucx
