// Latencies: a histogram of durations with a relative error of at most 1/32, in fixed memory.
// One writer; a value. (As HdrHistogram: buckets that double, each cut into equal parts.)
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace demo {

class Latencies {
 public:
  void add(std::uint64_t nanoseconds) {
    ++counts_[index_of(nanoseconds)];
    ++count_;
    max_ = std::max(max_, nanoseconds);
  }
  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t max() const noexcept { return max_; }

  /// The smallest duration that at least this part (0 to 1) of all do not exceed.
  std::uint64_t percentile(double part) const {
    const auto wanted = static_cast<std::uint64_t>(part * double(count_) + 0.5);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= std::max<std::uint64_t>(wanted, 1)) return std::min(highest_in(i), max_);
    }
    return max_;
  }

 private:
  static constexpr unsigned kPartBits = 5;
  static constexpr std::uint64_t kParts = 1u << kPartBits;

  static std::size_t index_of(std::uint64_t value) {
    if (value < kParts) return value;
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kPartBits;
    return (shift + 1) * kParts + ((value >> shift) - kParts);
  }
  static std::uint64_t highest_in(std::size_t index) {
    if (index < kParts) return index;
    const std::size_t shift = index / kParts - 1;
    return ((index % kParts + kParts + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - kPartBits + 1) * kParts> counts_{};
  std::uint64_t count_ = 0, max_ = 0;
};

}  // namespace demo
