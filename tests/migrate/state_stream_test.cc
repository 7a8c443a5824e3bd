#include "state_stream.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace godwit::migrate {
namespace {

struct Taken {
  ItemHeader header;
  std::string bytes;
};

std::string pattern(std::size_t size, char seed) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(seed + i * 31);
  return bytes;
}

/// All messages of a stream.
std::vector<std::string> messages_of(StreamWriter& writer) {
  std::vector<std::string> messages;
  for (Bytes piece = writer.piece(0); !piece.empty(); piece = writer.piece(0)) {
    messages.emplace_back(text_of(piece));
    writer.sent();
  }
  return messages;
}

std::vector<std::string> stream() {
  StreamWriter writer(7);
  writer.item(ItemType::version, 3, {});
  writer.item(ItemType::record, 1, bytes_of(pattern(10, 'a')));
  writer.item(ItemType::record, 2, {});
  writer.item(ItemType::record, 3, bytes_of(pattern(3 * StreamWriter::kPiece + 5, 'b')));
  writer.item(ItemType::image, 0, bytes_of(pattern(1000, 'c')));
  writer.manifest(4, 1);
  return messages_of(writer);
}

Result<std::vector<Taken>> read(const std::vector<std::string>& messages, StreamReader& reader) {
  std::vector<Taken> taken;
  for (const std::string& message : messages) {
    auto fed =
        reader.feed(bytes_of(message), [&](const ItemHeader& header, Bytes bytes) -> Result<void> {
          taken.push_back({header, std::string(text_of(bytes))});
          return {};
        });
    if (!fed) return tl::make_unexpected(fed.error());
  }
  return taken;
}

TEST(StateStream, ArrivesAsItWasSent) {
  StreamReader reader(7);
  const auto messages = stream();
  ASSERT_EQ(messages.size(), 4u);
  for (const auto& message : messages) EXPECT_LE(message.size(), StreamWriter::kPiece);
  auto taken = read(messages, reader);
  ASSERT_TRUE(taken) << taken.error().to_string();
  ASSERT_EQ(taken->size(), 5u);
  EXPECT_EQ((*taken)[0].header.kind, 3u);
  EXPECT_EQ((*taken)[1].bytes, pattern(10, 'a'));
  EXPECT_EQ((*taken)[2].bytes, "");
  EXPECT_EQ((*taken)[3].bytes, pattern(3 * StreamWriter::kPiece + 5, 'b'));
  EXPECT_EQ((*taken)[4].header.type, ItemType::image);
  EXPECT_TRUE(reader.complete());
  EXPECT_EQ(reader.manifest().epoch, 4u);
  EXPECT_EQ(reader.manifest().members, 1u);
}

TEST(StateStream, IsWrittenInSlices) {
  StreamWriter writer(7);
  StreamReader reader(7);
  std::vector<std::string> messages;
  for (int i = 0; i < 1000; ++i) {
    writer.item(ItemType::record, static_cast<std::uint32_t>(i), bytes_of(pattern(1500, 'd')));
    // Only whole messages, as while the server serves.
    for (Bytes piece = writer.piece(StreamWriter::kPiece); !piece.empty();
         piece = writer.piece(StreamWriter::kPiece)) {
      EXPECT_EQ(writer.piece(0).data(), piece.data());  // the same until it is sent
      messages.emplace_back(text_of(piece));
      writer.sent();
    }
  }
  writer.manifest(1, 0);
  for (auto& message : messages_of(writer)) messages.push_back(std::move(message));
  auto taken = read(messages, reader);
  ASSERT_TRUE(taken) << taken.error().to_string();
  EXPECT_EQ(taken->size(), 1000u);
  EXPECT_TRUE(reader.complete());
}

TEST(StateStream, AMissingOrAlienMessageIsNoticed) {
  const auto messages = stream();
  for (std::size_t missing = 0; missing + 1 < messages.size(); ++missing) {
    auto rest = messages;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(missing));
    StreamReader reader(7);
    EXPECT_EQ(read(rest, reader).error().code, Errc::protocol_error) << missing;
  }
  StreamReader other(8);
  EXPECT_EQ(read(messages, other).error().code, Errc::protocol_error);
  auto twice = messages;
  twice.push_back(messages.back());
  StreamReader reader(7);
  EXPECT_FALSE(read(twice, reader));
}

TEST(StateStream, NoDamageIsTakenForTheState) {
  const auto messages = stream();
  std::mt19937_64 random(11);
  for (int i = 0; i < 2000; ++i) {
    auto damaged = messages;
    std::string& one = damaged[random() % damaged.size()];
    if (i % 10 == 0) {
      one.resize(random() % one.size());
    } else {
      char& byte = one[i % 2 == 0 ? random() % one.size()
                                  : random() % std::min<std::size_t>(80, one.size())];
      byte = static_cast<char>(byte ^ (1 << random() % 8));
    }
    StreamReader reader(7);
    const auto taken = read(damaged, reader);
    EXPECT_FALSE(taken && reader.complete()) << i;
  }
}

TEST(StateStream, WhatTheProgramRefusesEndsIt) {
  StreamReader reader(7);
  auto fed = reader.feed(bytes_of(stream().front()), [](const ItemHeader&, Bytes) -> Result<void> {
    return fail(Errc::version_mismatch, "too new");
  });
  EXPECT_EQ(fed.error().code, Errc::version_mismatch);
}

}  // namespace
}  // namespace godwit::migrate
