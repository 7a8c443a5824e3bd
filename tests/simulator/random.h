// Random: the one source of chance in a schedule, so that a seed is enough to replay it.
#pragma once

#include <cstdint>

namespace godwit::simulator {

/// splitmix64 (Steele, Lea and Flood, OOPSLA 2014): any seed is as good as any other.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  /// In [0, limit); limit > 0.
  std::uint32_t below(std::uint32_t limit) noexcept {
    return static_cast<std::uint32_t>((next() >> 32) * limit >> 32);
  }
  std::uint32_t between(std::uint32_t first, std::uint32_t last) noexcept {
    return first + below(last - first + 1);
  }
  bool chance(std::uint32_t percent) noexcept { return below(100) < percent; }

 private:
  std::uint64_t state_;
};

}  // namespace godwit::simulator
