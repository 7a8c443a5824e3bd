#include "intervals.h"

#include <algorithm>

namespace audit {

namespace {

std::uint64_t end_of(const Run& run) {
  return run.first + run.count;
}

}  // namespace

Intervals Intervals::range(std::uint64_t first, std::uint64_t last) {
  Intervals result;
  if (first <= last) result.sorted_.push_back({first, last - first + 1});
  return result;
}

void Intervals::add(std::span<const Run> runs) {
  std::vector<Run> all(sorted_);
  all.insert(all.end(), runs.begin(), runs.end());
  std::sort(all.begin(), all.end(), [](const Run& a, const Run& b) { return a.first < b.first; });
  sorted_.clear();
  for (const Run& run : all) {
    if (run.count == 0) continue;
    if (sorted_.empty() || run.first > end_of(sorted_.back())) {
      sorted_.push_back(run);
      continue;
    }
    Run& last = sorted_.back();
    const std::uint64_t overlap = std::min(end_of(run), end_of(last)) - run.first;
    if (overlap > 0) {
      doubled_ += overlap;
      if (!first_doubled_) first_doubled_ = run.first;
    }
    last.count = std::max(end_of(last), end_of(run)) - last.first;
  }
}

void Intervals::add(const Intervals& other) {
  add(std::span<const Run>(other.sorted_));
}

std::uint64_t Intervals::size() const {
  std::uint64_t total = 0;
  for (const Run& run : sorted_) total += run.count;
  return total;
}

Intervals Intervals::common(const Intervals& other) const {
  Intervals result;
  auto a = sorted_.begin();
  auto b = other.sorted_.begin();
  while (a != sorted_.end() && b != other.sorted_.end()) {
    const std::uint64_t first = std::max(a->first, b->first);
    const std::uint64_t end = std::min(end_of(*a), end_of(*b));
    if (first < end) result.sorted_.push_back({first, end - first});
    (end_of(*a) < end_of(*b) ? a : b)++;
  }
  return result;
}

Intervals Intervals::without(const Intervals& other) const {
  Intervals result;
  auto cut = other.sorted_.begin();
  for (const Run& run : sorted_) {
    std::uint64_t at = run.first;
    while (cut != other.sorted_.end() && end_of(*cut) <= at) ++cut;
    for (auto each = cut; each != other.sorted_.end() && each->first < end_of(run); ++each) {
      if (each->first > at) result.sorted_.push_back({at, each->first - at});
      at = std::max(at, end_of(*each));
    }
    if (at < end_of(run)) result.sorted_.push_back({at, end_of(run) - at});
  }
  return result;
}

}  // namespace audit
