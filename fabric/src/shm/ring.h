// The ring of a shared-memory connection: one writer, one reader, in a segment that only the writer
// may write. The reader's progress comes back through the reader's own segment.
//
// A record is a FrameHeader and its payload, aligned to a cache line. The header's `fabric` word is
// the commit word: the writer clears the one of the next record first, fills the record, and stores
// its kind with release order last. A writer killed half-way leaves an uncommitted record, which
// the reader never sees. (After Aeron's ring buffers, which commit by the length.)
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "godwit/fabric/frame.h"

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace godwit::fabric::shm {

inline constexpr std::size_t kLine = 64;
inline constexpr std::uint32_t kDefaultRing = 128 << 10;
inline constexpr std::uint32_t kMinRing = 16 << 10;
inline constexpr std::uint32_t kMaxRing = 16 << 20;

enum RecordKind : std::uint32_t {
  kEmpty = 0,      // not committed yet
  kInline = 1,     // the payload follows the header
  kReference = 2,  // a Reference follows; the payload lies in the writer's arena
  kRelease = 3,    // offsets of the reader's arena that the writer no longer uses
  kPad = 4,        // nothing up to the end of the ring
};

struct Reference {
  std::uint64_t offset;
};

/// A segment as both sides see it; the ring's bytes follow. The owner writes all of it, the peer
/// none.
struct Segment {
  alignas(128) std::atomic<std::uint64_t> consumed;  // bytes its owner has read of the peer's ring
  alignas(128) std::atomic<std::uint32_t> blocked;   // its owner waits for room in its ring
  // One-sided copies. Each looks at the other's word after it has written its own, so that never
  // both go on.
  std::atomic<std::uint32_t> copying;  // its owner is in the peer's memory
  std::atomic<std::uint32_t> shut;     // exposures with keys up to this one are closed
  alignas(128) std::byte ring[1];

  static constexpr std::size_t bytes_for(std::uint32_t capacity) {
    return offsetof(Segment, ring) + capacity;
  }
};

static_assert(offsetof(Segment, ring) == 256);  // as in earlier builds

constexpr std::uint64_t record_size(std::size_t payload) {
  return (sizeof(FrameHeader) + payload + kLine - 1) / kLine * kLine;
}

inline std::atomic_ref<std::uint32_t> commit_word(std::byte* record) {
  return std::atomic_ref<std::uint32_t>(
      *reinterpret_cast<std::uint32_t*>(record + offsetof(FrameHeader, fabric)));
}

// Two engines of one process map a segment at two addresses, which ThreadSanitizer takes for two
// memories: it sees neither the bytes nor the order between them. The order is told to it on one
// object for all rings, as it does itself for all sockets.
#if defined(__SANITIZE_THREAD__)
inline char ring_order;
inline void order_release() noexcept {
  __tsan_release(&ring_order);
}
inline void order_acquire() noexcept {
  __tsan_acquire(&ring_order);
}
#else
inline void order_release() noexcept {}
inline void order_acquire() noexcept {}
#endif

/// Takes a cache line away from whoever has it, without waiting for it.
inline void prefetch_to_write(const std::byte* line) noexcept {
#if defined(__x86_64__)
  // Compilers emit it only where told that the processor is new; on others it does nothing.
  asm volatile("prefetchw %0" : : "m"(*line));
#else
  __builtin_prefetch(line, 1);
#endif
}

/// The writing end. Single-threaded.
class RingWriter {
 public:
  RingWriter() = default;
  RingWriter(Segment* own, const Segment* peer, std::uint32_t capacity)
      : ring_(own->ring), peer_(peer), capacity_(capacity) {}

  /// Room for a record with `payload` bytes (contiguous), or null: the ring is full. The caller
  /// writes the header but for its `fabric` word, and the payload, and then commits.
  std::byte* claim(std::size_t payload) noexcept {
    const std::uint64_t size = record_size(payload);
    std::uint64_t at = written_ & (capacity_ - 1);
    const std::uint64_t to_end = capacity_ - at;
    // One more line stays free, so that clearing the next commit word never touches unread bytes.
    const std::uint64_t needed = (size <= to_end ? size : to_end + size) + kLine;
    if (written_ + needed - consumed_ > capacity_) {
      consumed_ = peer_->consumed.load(std::memory_order_acquire);
      order_acquire();
      if (consumed_ > written_ || written_ + needed - consumed_ > capacity_) return nullptr;
    }
    if (size > to_end) {
      commit_word(ring_).store(kEmpty, std::memory_order_relaxed);
      commit_word(ring_ + at).store(kPad, std::memory_order_release);
      written_ += to_end;
      at = 0;
    }
    claimed_ = size;
    return ring_ + at;
  }

  /// Whether a claim of that size would succeed now.
  bool has_room(std::size_t payload) noexcept {
    consumed_ = peer_->consumed.load(std::memory_order_acquire);
    return written_ - consumed_ + 2 * record_size(payload) + kLine <= capacity_;
  }

  void commit(std::byte* record, RecordKind kind) noexcept {
    written_ += claimed_;
    commit_word(ring_ + (written_ & (capacity_ - 1))).store(kEmpty, std::memory_order_relaxed);
    order_release();
    commit_word(record).store(kind, std::memory_order_release);
    // The reader's cache holds these lines since its last lap: the next record need not wait for
    // them.
    for (std::uint64_t line = 1; line <= kAhead; ++line) {
      prefetch_to_write(ring_ + ((written_ + line * kLine) & (capacity_ - 1)));
    }
  }

 private:
  static constexpr std::uint64_t kAhead = 4;

  std::byte* ring_ = nullptr;
  const Segment* peer_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::uint64_t written_ = 0;
  std::uint64_t consumed_ = 0;  // as last read from the peer
  std::uint64_t claimed_ = 0;
};

/// The reading end. Single-threaded. The ring is the peer's: nothing in it is trusted.
class RingReader {
 public:
  RingReader() = default;
  RingReader(Segment* own, const Segment* peer, std::uint32_t capacity)
      : own_(own), ring_(const_cast<std::byte*>(peer->ring)), capacity_(capacity) {}

  struct Record {
    RecordKind kind = kEmpty;
    FrameHeader header;
    const std::byte* payload = nullptr;
  };

  bool ready() const noexcept {
    return commit_word(ring_ + (read_ & (capacity_ - 1))).load(std::memory_order_acquire) != kEmpty;
  }

  /// The next record, kEmpty if none. It stays valid until next() or publish(). False: the peer
  /// wrote what no writer writes.
  bool peek(Record& record) noexcept {
    for (;;) {
      const std::uint64_t at = read_ & (capacity_ - 1);
      std::byte* bytes = ring_ + at;
      const std::uint32_t kind = commit_word(bytes).load(std::memory_order_acquire);
      if (kind == kEmpty) {
        record.kind = kEmpty;
        return true;
      }
      order_acquire();
      if (kind == kPad) {
        if (at == 0) return false;
        read_ += capacity_ - at;
        continue;
      }
      __builtin_prefetch(bytes + kLine);  // the rest of a small record comes meanwhile
      HeaderWords words = load_words(bytes);
      words[0] &= 0xffffffffu;  // without the commit word
      store_words(&record.header, words);
      record.kind = static_cast<RecordKind>(kind);
      record.payload = bytes + sizeof(FrameHeader);
      const std::uint64_t inside = kind == kReference ? sizeof(Reference) : record.header.length;
      if (kind > kPad || inside > capacity_) return false;
      size_ = record_size(inside);
      return size_ <= capacity_ - at;
    }
  }

  void next() noexcept { read_ += size_; }

  /// Lets the writer reuse what was read. Once per batch; false if nothing was.
  bool publish() noexcept {
    if (published_ == read_) return false;
    published_ = read_;
    order_release();
    own_->consumed.store(read_, std::memory_order_release);
    return true;
  }

 private:
  Segment* own_ = nullptr;
  std::byte* ring_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::uint64_t read_ = 0;
  std::uint64_t published_ = 0;
  std::uint64_t size_ = 0;
};

}  // namespace godwit::fabric::shm
