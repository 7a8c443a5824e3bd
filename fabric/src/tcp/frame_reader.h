// FrameReader: turns the bytes of one tcp connection into frames. No I/O: it says where the next
// bytes shall be put and is told how many came.
//
// Most bytes come through a scratch buffer that all connections of an engine share; what remains of
// a frame that is not whole is carried over to the next call. The payload of a large frame
// (above kSmallPayload) is read straight into the Buffer that ConnectionEvents::place() gives;
// only what already lay in scratch is copied. So that this is little, the reader asks for just
// kShortRead bytes beyond a large payload, and for more again as small frames fill what it asked
// for.
//
// Memory: one carry buffer of a header and kSmallPayload bytes, made when first needed. The
// engine's thread only. Every length is checked before it is used: the bytes come from outside.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "godwit/error.h"
#include "godwit/fabric/buffer.h"
#include "godwit/fabric/frame.h"
#include "godwit/fabric/transport.h"

namespace godwit::fabric::tcp {

class FrameReader {
 public:
  static constexpr std::size_t kScratch = 128u << 10;
  static constexpr std::size_t kShortRead = 4096;

  FrameReader(Connection& connection, ConnectionEvents& events, ConnectionCounters& counters)
      : connection_(connection), events_(events), counters_(counters) {}

  /// As negotiated; a longer payload breaks the protocol.
  void set_max_payload(std::uint32_t bytes) noexcept { max_payload_ = bytes; }

  struct Room {
    std::array<iovec, 2> vectors{};
    int count = 0;
    std::size_t bytes = 0;
  };
  /// Where the next bytes go. `scratch` has at least kScratch bytes and must be the same, and left
  /// alone, until received().
  Room room(std::span<std::byte> scratch) noexcept;

  /// `size` bytes were put into the room. Calls on_frame and place. protocol_error if they are no
  /// frames of this protocol.
  Result<void> received(std::span<std::byte> scratch, std::size_t size);

  /// The same for bytes that came by another way, before the first room().
  Result<void> feed(std::span<const std::byte> bytes) { return parse(bytes); }

  /// The connection was closed, perhaps by a handler: no further event, and no memory is kept.
  void stop() noexcept;

 private:
  Result<void> parse(std::span<const std::byte> bytes);
  void begin_large(const FrameHeader& header);
  void finish_large();
  void carry(std::span<const std::byte> bytes);

  Connection& connection_;
  ConnectionEvents& events_;
  ConnectionCounters& counters_;
  std::uint32_t max_payload_ = kMaxPayload;
  bool stopped_ = false;
  std::size_t read_ahead_ = kScratch / 2;

  bool in_large_ = false;
  FrameHeader large_header_;
  Buffer large_;            // empty: the payload is dropped
  std::size_t filled_ = 0;  // bytes of the large payload that have come

  std::unique_ptr<std::byte[]> carried_;
  std::size_t carried_size_ = 0;
};

}  // namespace godwit::fabric::tcp
