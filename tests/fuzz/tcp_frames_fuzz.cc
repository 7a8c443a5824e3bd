// Frames over TCP: any bytes, however they are cut into reads, give the same frames and the same
// error, and no memory beyond the negotiated limit is asked for. The first byte of the input is the
// size of the reads.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tcp/frame_reader.h"

using namespace godwit::fabric;

namespace {

constexpr std::uint32_t kLimit = 64u << 10;

class NoConnection final : public Connection {
 public:
  NoConnection() : Connection(TransportKind::tcp) {}
  SendStatus send(Frame&) override { return SendStatus::closed; }
  SendStatus post(FramePtr&) override { return SendStatus::closed; }
  void close(godwit::Error) override {}
};

/// Puts every frame into one text, so that two readings can be compared.
class Collector final : public ConnectionEvents {
 public:
  void on_established(Connection&) override {}
  void on_writable(Connection&) override {}
  void on_closed(Connection&, const godwit::Error&) override {}
  Buffer place(Connection&, const FrameHeader& header) override {
    if (header.length > kLimit || header.length <= kSmallPayload) std::abort();
    // One in four finds no memory.
    if (header.upper[0] % 4 == 3) return {};
    auto memory = std::make_unique<std::byte[]>(header.length);
    std::byte* bytes = memory.get();
    return Buffer(
        bytes, header.length,
        [](void* context, std::uint64_t) noexcept {
          std::unique_ptr<std::byte[]>(static_cast<std::byte*>(context)).reset();
        },
        memory.release());
  }
  void on_frame(Connection&, const FrameHeader& header, std::span<const std::byte> payload,
                Buffer) override {
    if (payload.size() != header.length && !payload.empty()) std::abort();
    text.append(reinterpret_cast<const char*>(&header), sizeof header);
    text.append(reinterpret_cast<const char*>(payload.data()), payload.size());
  }
  std::string text;
};

std::string read(std::string_view bytes, std::size_t piece, std::span<std::byte> scratch) {
  NoConnection connection;
  Collector events;
  ConnectionCounters counters;
  tcp::FrameReader reader(connection, events, counters);
  reader.set_max_payload(kLimit);
  while (!bytes.empty()) {
    const auto room = reader.room(scratch);
    const std::size_t size = std::min({piece, room.bytes, bytes.size()});
    const std::size_t first = std::min(size, room.vectors[0].iov_len);
    std::memcpy(room.vectors[0].iov_base, bytes.data(), first);
    if (size > first) std::memcpy(room.vectors[1].iov_base, bytes.data() + first, size - first);
    bytes.remove_prefix(size);
    if (const auto taken = reader.received(scratch, size); !taken) {
      return events.text + taken.error().to_string();
    }
  }
  return events.text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const auto memory = std::make_unique<std::byte[]>(tcp::FrameReader::kScratch);
  const std::span<std::byte> scratch(memory.get(), tcp::FrameReader::kScratch);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (read(bytes, std::size_t{data[0]} + 1, scratch) != read(bytes, SIZE_MAX, scratch)) {
    std::abort();
  }
  return 0;
}
