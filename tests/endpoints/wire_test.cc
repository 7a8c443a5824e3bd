// What lies behind an attach comes from the peer: whole replies, or it is refused.
#include "engine/wire.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace godwit::wire {
namespace {

std::vector<std::byte> aboard(std::initializer_list<std::uint16_t> lengths) {
  std::vector<std::byte> bytes;
  std::uint32_t call = 7;
  for (const std::uint16_t length : lengths) {
    const Aboard reply{call++, 2, length};
    const auto head = std::as_bytes(std::span(&reply, 1));
    bytes.insert(bytes.end(), head.begin(), head.end());
    bytes.insert(bytes.end(), length, static_cast<std::byte>(length));
  }
  return bytes;
}

TEST(WireAboard, WhatWasPutThereIsTakenInItsOrder) {
  const auto bytes = aboard({5, 0, 300});
  std::span<const std::byte> rest = bytes;
  ASSERT_TRUE(is_aboard(rest));
  std::uint32_t call = 7;
  for (const std::size_t length : {5u, 0u, 300u}) {
    const auto [reply, payload] = next_aboard(rest);
    EXPECT_EQ(reply.call, call++);
    EXPECT_EQ(reply.status, 2u);
    EXPECT_EQ(std::vector(payload.begin(), payload.end()),
              std::vector(length, static_cast<std::byte>(length)));
  }
  EXPECT_TRUE(rest.empty());
}

TEST(WireAboard, APartOfAReplyIsRefused) {
  const auto bytes = aboard({5, 0, 300});
  const std::size_t whole[] = {0, 13, 21, 329};
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    const bool ends = std::find(std::begin(whole), std::end(whole), size) != std::end(whole);
    EXPECT_EQ(is_aboard(std::span(bytes).first(size)), ends) << size;
  }
}

TEST(WireAboard, AnyBytesAreRefusedOrRead) {
  std::mt19937 random(5);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> bytes(random() % 64);
    // Short lengths, now and then, so that some of them are replies.
    for (std::byte& each : bytes) each = static_cast<std::byte>(random() % 3 == 0 ? random() : 0);
    std::span<const std::byte> rest = bytes;
    if (!is_aboard(rest)) continue;
    while (!rest.empty()) (void)next_aboard(rest);
  }
}

}  // namespace
}  // namespace godwit::wire
