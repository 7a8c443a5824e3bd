#include "verbs/wire.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace godwit::fabric::verbs {
namespace {

std::vector<std::byte> message(Kind kind, std::uint32_t length, std::size_t body,
                               std::uint32_t credits = 0, std::uint32_t fetched = 0) {
  FrameHeader header;
  header.length = length;
  header.fabric = pack({kind, credits, fetched});
  std::vector<std::byte> bytes(sizeof header + body);
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

TEST(VerbsWire, TheControlWordComesBack) {
  const auto control = unpack(pack({Kind::announce, 4095, 17}));
  ASSERT_TRUE(control.has_value());
  EXPECT_EQ(control->kind, Kind::announce);
  EXPECT_EQ(control->credits, 4095u);
  EXPECT_EQ(control->fetched, 17u);
  EXPECT_FALSE(unpack(0).has_value());
  EXPECT_FALSE(unpack(8u << 24).has_value());
  EXPECT_FALSE(unpack(0x81000000).has_value());
}

TEST(VerbsWire, AMessageShowsItsParts) {
  const auto bytes = message(Kind::frame, 5, 5, 3, 2);
  const auto parsed = parse(bytes, kMaxPayload);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->header.fabric, 0u);
  EXPECT_EQ(parsed->header.length, 5u);
  EXPECT_EQ(parsed->control.credits, 3u);
  EXPECT_EQ(parsed->control.fetched, 2u);
  EXPECT_EQ(parsed->body.size(), 5u);
}

TEST(VerbsWire, LengthsThatDoNotFitTheKindAreRefused) {
  EXPECT_FALSE(parse({}, kMaxPayload));
  EXPECT_FALSE(parse(std::vector<std::byte>(31), kMaxPayload));
  EXPECT_FALSE(parse(message(Kind::frame, 5, 4), kMaxPayload));
  EXPECT_FALSE(parse(message(Kind::frame, 4000, 2048), kMaxPayload));
  EXPECT_FALSE(parse(message(Kind::update, 1, 0), kMaxPayload));
  EXPECT_FALSE(parse(message(Kind::goodbye, 0, 1), kMaxPayload));
  EXPECT_FALSE(parse(message(Kind::begin, 2048, 2048), kMaxPayload));
  EXPECT_FALSE(parse(message(Kind::begin, 5000, 2000), kMaxPayload));
  EXPECT_FALSE(parse(message(Kind::begin, 70'000, 2048), 65'536));
  EXPECT_FALSE(parse(message(Kind::announce, 70'000, 28), 65'536));
  EXPECT_TRUE(parse(message(Kind::begin, 5000, 2048), kMaxPayload));
  EXPECT_TRUE(parse(message(Kind::more, 9, 9), kMaxPayload));
}

Announce announcement(std::uint64_t skipped, std::uint32_t keys) {
  Announce announce;
  announce.address = 0x7f0000001000;
  announce.skipped = skipped;
  announce.chunk_bits = 20;
  for (std::uint32_t i = 0; i < keys; ++i) announce.keys.push_back(100 + i);
  return announce;
}

std::vector<std::byte> encoded(const Announce& announce) {
  std::vector<std::byte> bytes(announce.size());
  announce.encode(bytes.data());
  return bytes;
}

TEST(VerbsAnnounce, ComesBackAndShowsItsPieces) {
  constexpr std::uint32_t kLength = 3u << 20;
  const auto bytes = encoded(announcement(4096, 4));
  const auto announce = Announce::decode(bytes, kLength);
  ASSERT_TRUE(announce.has_value());
  std::uint64_t offset = 0;
  std::vector<std::uint64_t> sizes;
  for (std::uint32_t i = 0; offset < kLength; ++i) {
    const auto piece = announce->piece(offset, kLength);
    EXPECT_EQ(piece.key, 100 + i);
    EXPECT_EQ(piece.address, announce->address + offset);
    sizes.push_back(piece.size);
    offset += piece.size;
  }
  EXPECT_EQ(offset, kLength);
  EXPECT_EQ(sizes, (std::vector<std::uint64_t>{(1 << 20) - 4096, 1 << 20, 1 << 20, 4096}));
}

TEST(VerbsAnnounce, OneKeyForAll) {
  Announce whole;
  whole.address = 12345;
  whole.chunk_bits = Announce::kWhole;
  whole.keys = {7};
  const auto announce = Announce::decode(encoded(whole), kMaxPayload);
  ASSERT_TRUE(announce.has_value());
  EXPECT_EQ(announce->piece(1000, kMaxPayload).size, kMaxPayload - 1000u);
}

TEST(VerbsAnnounce, WhatDoesNotAddUpIsRefused) {
  constexpr std::uint32_t kLength = 3u << 20;
  EXPECT_FALSE(Announce::decode({}, kLength));
  EXPECT_FALSE(Announce::decode(encoded(announcement(4096, 3)), kLength));
  EXPECT_FALSE(Announce::decode(encoded(announcement(4096, 5)), kLength));
  EXPECT_FALSE(Announce::decode(encoded(announcement(1 << 20, 4)), kLength));
  auto bytes = encoded(announcement(4096, 4));
  bytes.pop_back();
  EXPECT_FALSE(Announce::decode(bytes, kLength));
  Announce wraps = announcement(4096, 4);
  wraps.address = ~std::uint64_t{0} - 10;
  EXPECT_FALSE(Announce::decode(encoded(wraps), kLength));
  Announce fine = announcement(0, 3);
  fine.chunk_bits = 10;
  EXPECT_FALSE(Announce::decode(encoded(fine), kLength));
  fine.chunk_bits = 64;
  EXPECT_FALSE(Announce::decode(encoded(fine), kLength));
}

TEST(VerbsIntroduction, MayArriveLongerThanItWasSent) {
  const Introduction introduction{0xabcd1234};
  const std::string bytes = introduction.encode();
  ASSERT_EQ(bytes.size(), Introduction::kSize);
  ASSERT_TRUE(Introduction::decode(bytes));
  const auto longer = Introduction::decode(bytes + std::string(44, '\0'));
  ASSERT_TRUE(longer);
  EXPECT_EQ(longer->link, introduction.link);
  EXPECT_FALSE(Introduction::decode(bytes.substr(0, 11)));
  EXPECT_FALSE(Introduction::decode("GET / HTTP/1.1\r\n"));
  EXPECT_FALSE(Introduction::decode({}));
}

TEST(VerbsWindow, HasLimits) {
  EXPECT_EQ(decode_window(encode_window(64)), 64u);
  EXPECT_FALSE(decode_window(encode_window(3)));
  EXPECT_FALSE(decode_window(encode_window(5000)));
  EXPECT_FALSE(decode_window("ab"));
}

}  // namespace
}  // namespace godwit::fabric::verbs
