// The shared-memory ring without a peer on another core: the instructions alone.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "shm/ring.h"

namespace {

using namespace godwit::fabric;       // NOLINT: a program
using namespace godwit::fabric::shm;  // NOLINT: a program

struct FreeSegment {
  void operator()(Segment* segment) const noexcept { std::free(segment); }
};
using SegmentPtr = std::unique_ptr<Segment, FreeSegment>;

SegmentPtr make_segment() {
  const std::size_t bytes = (Segment::bytes_for(kDefaultRing) + 127) / 128 * 128;
  void* memory = std::aligned_alloc(128, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  return SegmentPtr(static_cast<Segment*>(memory));
}

void ring_write_read(benchmark::State& state) {
  const auto size = static_cast<std::uint32_t>(state.range(0));
  const SegmentPtr mine = make_segment();
  const SegmentPtr theirs = make_segment();
  RingWriter writer(mine.get(), theirs.get(), kDefaultRing);
  RingReader reader(theirs.get(), mine.get(), kDefaultRing);
  FrameHeader header{};
  header.length = size;
  for (auto unused : state) {
    std::byte* record = writer.claim(size);
    if (record == nullptr) return state.SkipWithError("the ring is full");
    // All of the header but the commit word, as the connection does.
    std::memcpy(record, &header.length, sizeof header.length);
    std::memcpy(record + offsetof(FrameHeader, upper), &header.upper, sizeof header.upper);
    std::memset(record + sizeof header, 1, size);
    writer.commit(record, kInline);
    RingReader::Record read;
    if (!reader.peek(read) || read.kind != kInline) return state.SkipWithError("nothing to read");
    benchmark::DoNotOptimize(read.payload);
    reader.next();
    reader.publish();
  }
}
BENCHMARK(ring_write_read)->Arg(64)->Arg(2048);

}  // namespace
