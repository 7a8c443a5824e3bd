// Intervals: a set of numbers as sorted disjoint intervals, made of runs. A value.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "history.h"

namespace audit {

class Intervals {
 public:
  /// Adds runs; `doubled()` counts the numbers that were there already.
  void add(std::span<const Run> runs);
  void add(const Intervals& other);

  std::uint64_t doubled() const noexcept { return doubled_; }
  std::optional<std::uint64_t> first_doubled() const noexcept { return first_doubled_; }
  std::uint64_t size() const;
  bool empty() const noexcept { return sorted_.empty(); }
  /// The smallest and the largest number; the set is not empty.
  std::uint64_t least() const { return sorted_.front().first; }
  std::uint64_t most() const { return sorted_.back().first + sorted_.back().count - 1; }

  Intervals common(const Intervals& other) const;
  Intervals without(const Intervals& other) const;
  static Intervals range(std::uint64_t first, std::uint64_t last);

 private:
  std::vector<Run> sorted_;
  std::uint64_t doubled_ = 0;
  std::optional<std::uint64_t> first_doubled_;
};

}  // namespace audit
