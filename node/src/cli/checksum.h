// Checksum: tells whether a copy arrived as it was sent. Pure functions.
//
// Not against attackers: it must keep up with memory, so it takes eight bytes at a time, in four
// lanes that do not wait for each other. Depends on the order of the bytes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace godwit::node::cli {

inline std::uint64_t checksum(std::span<const std::byte> bytes) noexcept {
  constexpr std::uint64_t kPrime = 0x9E3779B97F4A7C15u;
  std::array<std::uint64_t, 4> lanes = {1, 2, 3, 4};
  std::size_t at = 0;
  for (; at + 32 <= bytes.size(); at += 32) {
    std::array<std::uint64_t, 4> words;
    std::memcpy(words.data(), bytes.data() + at, sizeof words);
    for (std::size_t lane = 0; lane < 4; ++lane)
      lanes[lane] = std::rotl((lanes[lane] ^ words[lane]) * kPrime, 29);
  }
  std::uint64_t sum = bytes.size();
  for (const std::uint64_t lane : lanes) sum = std::rotl((sum ^ lane) * kPrime, 29);
  for (; at < bytes.size(); ++at)
    sum = std::rotl((sum ^ std::to_integer<std::uint64_t>(bytes[at])) * kPrime, 29);
  return sum;
}

/// Bytes that look random and follow from the seed (splitmix64).
inline void fill_pattern(std::span<std::byte> bytes, std::uint64_t seed) noexcept {
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    seed += 0x9E3779B97F4A7C15u;
    std::uint64_t word = seed;
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9u;
    word = (word ^ word >> 27) * 0x94D049BB133111EBu;
    word ^= word >> 31;
    std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, bytes.size() - at));
  }
}

}  // namespace godwit::node::cli
