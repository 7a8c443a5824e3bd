// Histogram: latencies in log-linear buckets, as HdrHistogram does (http://hdrhistogram.org).
//
// Each power of two is cut into 128 equal buckets, so a reported value is at most 1/128 (0.8 %)
// above a recorded one, from 1 ns to 2^63 ns; below 256 ns it is exact. Recording costs a few
// instructions and no allocation. A value type of 58 KiB; one thread.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace godwit::node::cli {

class Histogram {
 public:
  Histogram() : buckets_(kBuckets) {}

  void record(std::uint64_t value) noexcept {
    ++buckets_[bucket_of(value)];
    ++count_;
    sum_ += static_cast<double>(value);
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
  }

  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
  std::uint64_t max() const noexcept { return max_; }
  double mean() const noexcept { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

  /// The smallest value that at least this share (0 to 1) of the recorded ones does not exceed, up
  /// to the width of a bucket; 0 when nothing was recorded.
  std::uint64_t quantile(double share) const noexcept {
    if (count_ == 0) return 0;
    const double wanted = share * static_cast<double>(count_);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
      seen += buckets_[bucket];
      if (seen > 0 && static_cast<double>(seen) >= wanted)
        return std::clamp(top_of(bucket), min_, max_);
    }
    return max_;
  }

 private:
  static constexpr unsigned kBits = 7;  // 2^7 buckets in each power of two
  static constexpr std::uint64_t kHalf = std::uint64_t{1} << kBits;
  static constexpr std::size_t kBuckets = (64 - kBits + 1) * kHalf;

  // Values below 2 * kHalf have a bucket each. Above, a value is shifted until it has kBits + 1
  // bits; the shift and those bits name its bucket.
  static std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < 2 * kHalf) return static_cast<std::size_t>(value);
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - (kBits + 1);
    return static_cast<std::size_t>(shift * kHalf + (value >> shift));
  }
  // The largest value of a bucket.
  static std::uint64_t top_of(std::size_t bucket) noexcept {
    if (bucket < 2 * kHalf) return bucket;
    const std::uint64_t shift = bucket / kHalf - 1;
    const std::uint64_t leading = bucket - shift * kHalf;
    return ((leading + 1) << shift) - 1;
  }

  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  double sum_ = 0;
  std::uint64_t min_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t max_ = 0;
};

}  // namespace godwit::node::cli
