#include "cli/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace godwit::node::cli {
namespace {

TEST(Histogram, IsEmptyAtFirst) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.min(), 0U);
  EXPECT_EQ(histogram.max(), 0U);
  EXPECT_EQ(histogram.mean(), 0);
  EXPECT_EQ(histogram.quantile(0.5), 0U);
}

TEST(Histogram, IsExactForSmallValues) {
  Histogram histogram;
  for (std::uint64_t value = 1; value <= 200; ++value) histogram.record(value);
  EXPECT_EQ(histogram.quantile(0), 1U);
  EXPECT_EQ(histogram.quantile(0.5), 100U);
  EXPECT_EQ(histogram.quantile(0.9), 180U);
  EXPECT_EQ(histogram.quantile(0.99), 198U);
  EXPECT_EQ(histogram.quantile(1), 200U);
  EXPECT_EQ(histogram.mean(), 100.5);
}

// The promise of the header, against the sorted values themselves.
TEST(Histogram, QuantilesAreAtMostAShareTooHigh) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> latency(9, 2);
  Histogram histogram;
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 100'000; ++i) {
    values.push_back(static_cast<std::uint64_t>(latency(random)));
    histogram.record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double share : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999}) {
    const std::uint64_t exact = values[static_cast<std::size_t>(share * 100'000 + 0.5) - 1];
    EXPECT_GE(histogram.quantile(share), exact) << share;
    EXPECT_LE(static_cast<double>(histogram.quantile(share)),
              static_cast<double>(exact) * (1 + 1.0 / 128))
        << share;
  }
  EXPECT_EQ(histogram.min(), values.front());
  EXPECT_EQ(histogram.max(), values.back());
  EXPECT_EQ(histogram.quantile(1), values.back());
}

TEST(Histogram, TakesTheLargestNumbers) {
  Histogram histogram;
  for (unsigned bit = 0; bit < 64; ++bit) histogram.record(std::uint64_t{1} << bit);
  histogram.record(std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(histogram.count(), 65U);
  EXPECT_EQ(histogram.quantile(1), std::numeric_limits<std::uint64_t>::max());
}

}  // namespace
}  // namespace godwit::node::cli
