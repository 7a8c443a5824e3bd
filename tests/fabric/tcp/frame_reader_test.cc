#include "tcp/frame_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace godwit::fabric::tcp {
namespace {

class NoConnection final : public Connection {
 public:
  NoConnection() : Connection(TransportKind::tcp) {}
  SendStatus send(Frame&) override { return SendStatus::closed; }
  SendStatus post(FramePtr&) override { return SendStatus::closed; }
  void close(Error) override {}
};

/// Records frames; its memory for large payloads is ordinary, so that sanitizers watch its ends.
class Recorder final : public ConnectionEvents {
 public:
  void on_established(Connection&) override {}
  void on_writable(Connection&) override {}
  void on_closed(Connection&, const Error&) override {}
  void on_frame(Connection&, const FrameHeader& header, std::span<const std::byte> payload,
                Buffer) override {
    headers.push_back(header);
    payloads.emplace_back(reinterpret_cast<const char*>(payload.data()), payload.size());
    if (stop_after != 0 && headers.size() == stop_after) reader->stop();
  }
  Buffer place(Connection&, const FrameHeader& header) override {
    ++places;
    if (drop) return {};
    auto memory = std::make_unique<std::byte[]>(header.length);
    std::byte* bytes = memory.get();
    return Buffer(
        bytes, header.length,
        [](void* context, std::uint64_t) noexcept {
          std::unique_ptr<std::byte[]>(static_cast<std::byte*>(context)).reset();
        },
        memory.release());
  }

  std::vector<FrameHeader> headers;
  std::vector<std::string> payloads;
  std::size_t places = 0;
  std::size_t stop_after = 0;
  bool drop = false;
  FrameReader* reader = nullptr;
};

struct Reading {
  Reading() { events.reader = &reader; }

  /// Lets the reader take `bytes` in pieces of at most `piece`, as a socket would give them.
  Result<void> read(const std::string& bytes, std::size_t piece) {
    std::size_t at = 0;
    while (at < bytes.size()) {
      FrameReader::Room room = reader.room(scratch);
      std::size_t size = std::min({piece, room.bytes, bytes.size() - at});
      const std::size_t first = std::min(size, room.vectors[0].iov_len);
      std::memcpy(room.vectors[0].iov_base, bytes.data() + at, first);
      if (size > first) {
        EXPECT_EQ(room.count, 2);
        std::memcpy(room.vectors[1].iov_base, bytes.data() + at + first, size - first);
      }
      if (room.count == 2) ++straight_reads;
      at += size;
      if (auto taken = reader.received(scratch, size); !taken) return taken;
    }
    return {};
  }

  NoConnection connection;
  Recorder events;
  ConnectionCounters counters;
  FrameReader reader{connection, events, counters};
  std::vector<std::byte> scratch = std::vector<std::byte>(FrameReader::kScratch);
  std::size_t straight_reads = 0;
};

std::string frame(std::uint32_t size, std::uint32_t tag) {
  FrameHeader header;
  header.length = size;
  header.upper[5] = tag;
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  for (std::uint32_t i = 0; i < size; ++i) bytes += static_cast<char>(i * 7 + tag);
  return bytes;
}

TEST(FrameReader, AnyPiecesGiveTheSameFrames) {
  const std::vector<std::uint32_t> sizes = {0,    1,      64, 2048, 2049, 3,       4096,
                                            2048, 70'000, 0,  5000, 64,   200'000, 2047};
  std::string bytes;
  for (std::uint32_t i = 0; i < sizes.size(); ++i) bytes += frame(sizes[i], i);
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{7}, std::size_t{31}, std::size_t{32}, std::size_t{33},
        std::size_t{2080}, std::size_t{4096}, std::size_t{65'536}, bytes.size()}) {
    Reading reading;
    ASSERT_TRUE(reading.read(bytes, piece).has_value());
    ASSERT_EQ(reading.events.headers.size(), sizes.size()) << piece;
    for (std::uint32_t i = 0; i < sizes.size(); ++i) {
      EXPECT_EQ(reading.events.headers[i].length, sizes[i]);
      EXPECT_EQ(reading.events.headers[i].upper[5], i);
      EXPECT_EQ(reading.events.payloads[i], frame(sizes[i], i).substr(sizeof(FrameHeader)));
    }
    EXPECT_EQ(reading.events.places, 5u);
    EXPECT_EQ(reading.counters.frames_received, sizes.size());
  }
}

TEST(FrameReader, ALargePayloadIsReadStraightIntoItsPlace) {
  Reading reading;
  ASSERT_TRUE(reading.read(frame(1 << 20, 1) + frame(1 << 20, 2), SIZE_MAX).has_value());
  EXPECT_EQ(reading.events.headers.size(), 2u);
  EXPECT_EQ(reading.straight_reads, 2u);
}

TEST(FrameReader, APayloadWithoutAPlaceIsSkipped) {
  Reading reading;
  reading.events.drop = true;
  ASSERT_TRUE(reading.read(frame(300'000, 1) + frame(5, 2), 1000).has_value());
  ASSERT_EQ(reading.events.headers.size(), 2u);
  EXPECT_EQ(reading.events.headers[0].length, 300'000u);
  EXPECT_TRUE(reading.events.payloads[0].empty());
  EXPECT_EQ(reading.events.payloads[1], frame(5, 2).substr(sizeof(FrameHeader)));
}

TEST(FrameReader, RefusesWhatIsNoFrame) {
  {
    Reading reading;
    reading.reader.set_max_payload(1000);
    ASSERT_TRUE(reading.read(frame(1000, 1), 4096).has_value());
    const auto refused = reading.read(frame(1001, 1), 4096);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Errc::protocol_error);
    EXPECT_NE(refused.error().message.find("1001"), std::string::npos);
    EXPECT_EQ(reading.events.headers.size(), 1u);
  }
  {
    Reading reading;
    std::string bytes = frame(0, 1);
    bytes[4] = 1;  // FrameHeader::fabric
    EXPECT_FALSE(reading.read(bytes, 4096).has_value());
  }
  {
    Reading reading;
    EXPECT_FALSE(reading.read(std::string(32, '\xff'), 4096).has_value());
    EXPECT_EQ(reading.events.places, 0u) << "memory was asked for by a stranger's length";
  }
}

TEST(FrameReader, NothingIsDeliveredBehindAStop) {
  Reading reading;
  reading.events.stop_after = 2;
  std::string bytes;
  for (std::uint32_t i = 0; i < 10; ++i) bytes += frame(10, i);
  ASSERT_TRUE(reading.reader.feed(std::as_bytes(std::span(bytes))).has_value());
  EXPECT_EQ(reading.events.headers.size(), 2u);
}

}  // namespace
}  // namespace godwit::fabric::tcp
