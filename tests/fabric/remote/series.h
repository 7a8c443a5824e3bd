// Series and Outgoing: frames of known tags and sizes, as one side sends them and the other
// compares them. Value types of the engine's thread.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "fabric/test_engine.h"

namespace godwit::fabric::testing {

/// What has been seen of some frames. Equal series: the same frames in the same order, intact.
struct Series {
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;                  // as the headers say
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a over tags and lengths, in order
  std::uint64_t wrong = 0;                  // payloads or headers that are not what was sent
  std::uint64_t dropped = 0;                // frames that came without their payload
  bool operator==(const Series&) const = default;

  void add(std::uint32_t tag, std::uint32_t length) {
    ++frames;
    bytes += length;
    for (const std::uint32_t word : {tag, length}) {
      for (int shift = 0; shift < 32; shift += 8) {
        hash = (hash ^ (word >> shift & 0xff)) * 0x100000001b3;
      }
    }
  }
  /// A frame that arrived.
  void add(const FrameHeader& header, std::span<const std::byte> payload) {
    const std::uint32_t tag = header.upper[0];
    add(tag, header.length);
    if (payload.empty() && header.length != 0) ++dropped;
    const bool whole = payload.empty() || payload.size() == header.length;
    const bool same_header =
        header.fabric == 0 && header.upper == decltype(header.upper){tag, 1, 2, 3, 4, 5};
    if (!whole || !same_header ||
        !TestEngine::has_pattern({reinterpret_cast<const char*>(payload.data()), payload.size()},
                                 tag)) {
      ++wrong;
    }
  }
};

inline void PrintTo(const Series& series, std::ostream* out) {
  *out << series.frames << " frames, " << series.bytes << " bytes, " << series.wrong << " wrong, "
       << series.dropped << " without payload, hash " << series.hash;
}

/// Frames on their way out: `count` with ascending tags, sizes in turn.
class Outgoing {
 public:
  static constexpr std::uint32_t kBatch = 64;

  enum class Stop { done, enough, no_room, no_memory, closed };

  Outgoing(std::uint32_t count, std::uint32_t first_tag, std::vector<std::uint32_t> sizes)
      : count_(count), first_tag_(first_tag), sizes_(std::move(sizes)) {}

  /// Posts until `stop`, as many as the connection takes but `most` at once: one whose receiver
  /// keeps up takes all there are, and whoever posts does nothing else in the meantime.
  Stop post(TestEngine& engine, Connection& connection, std::uint32_t most = kAll) {
    for (std::uint32_t n = 0; posted_ < count_; ++posted_, ++n) {
      if (n == most) return Stop::enough;
      if (frame_ == nullptr) {
        // The receiver needs memory for all that is in flight as well.
        if (size(posted_) > kSmallPayload && engine.arena().in_use() > kMostInFlight) {
          return Stop::no_memory;
        }
        frame_ = engine.make_frame(size(posted_), first_tag_ + posted_);
      }
      const SendStatus status = connection.post(frame_);
      if (status == SendStatus::would_block) return Stop::no_room;
      if (status == SendStatus::closed) return Stop::closed;
    }
    return Stop::done;
  }

  bool done() const { return posted_ == count_; }
  std::uint32_t posted() const { return posted_; }

  /// What has arrived at the other side when `frames` of them have.
  Series series(std::uint32_t frames) const {
    Series series;
    append(series, frames);
    return series;
  }
  Series series() const { return series(count_); }
  void append(Series& series, std::uint32_t frames) const {
    for (std::uint32_t i = 0; i < frames; ++i) series.add(first_tag_ + i, size(i));
  }

 private:
  static constexpr std::uint32_t kAll = ~0u;
  static constexpr std::size_t kMostInFlight = 16 << 20;

  std::uint32_t size(std::uint32_t n) const { return sizes_[n % sizes_.size()]; }

  std::uint32_t count_, first_tag_;
  std::vector<std::uint32_t> sizes_;
  std::uint32_t posted_ = 0;
  FramePtr frame_;  // refused so far
};

}  // namespace godwit::fabric::testing
