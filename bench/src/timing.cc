#include "timing.h"

#include <sys/resource.h>

#include <array>
#include <cstdio>

namespace godwit::bench {

std::uint64_t sleeps_of_this_thread() noexcept {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nvcsw);
}

void think(std::chrono::nanoseconds time) noexcept {
  if (time <= std::chrono::nanoseconds::zero()) return;
  const auto until = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < until) {
  }
}

void Timing::without_thinking(std::chrono::nanoseconds of_each) {
  const auto nanoseconds = static_cast<double>(of_each.count());
  seconds -= nanoseconds * 1e-9 * static_cast<double>(operations);
  for (double& batch : batches) batch -= nanoseconds;
}

std::string to_json(const Timing& timing) {
  const double mean = timing.seconds * 1e9 / static_cast<double>(timing.operations);
  std::vector<double> sorted = timing.batches;
  if (sorted.empty()) sorted.push_back(mean);
  std::sort(sorted.begin(), sorted.end());
  std::array<char, 256> text;
  std::snprintf(
      text.data(), text.size(),
      R"({"operations":%llu,"seconds":%.9f,"mean_ns":%.2f,"median_ns":%.2f,"best_ns":%.2f,"sleeps":%llu})",
      static_cast<unsigned long long>(timing.operations), timing.seconds, mean,
      sorted[sorted.size() / 2], sorted.front(), static_cast<unsigned long long>(timing.sleeps));
  return text.data();
}

}  // namespace godwit::bench
