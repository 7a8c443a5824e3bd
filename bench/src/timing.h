// The result of one timed run, and how it is printed for bench/run: one line of JSON.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace godwit::bench {

struct Timing {
  std::uint64_t operations = 0;
  double seconds = 0;
  /// Nanoseconds of one operation, as the mean of each batch; empty where only the whole is timed.
  std::vector<double> batches;
  /// How often the measuring thread slept: what claims to measure sleeping sides must show it.
  std::uint64_t sleeps = 0;

  /// Takes off what each operation spent in think().
  void without_thinking(std::chrono::nanoseconds of_each);
};

/// Computes for that long: the other side finds nothing to do and goes to sleep.
void think(std::chrono::nanoseconds time) noexcept;

/// Voluntary context switches of the calling thread so far.
std::uint64_t sleeps_of_this_thread() noexcept;

/// Runs `work(n)` for `operations` operations in up to `batches` batches and times each. Reading
/// the clock once a batch keeps it out of what is measured; a batch that was interrupted stands
/// out.
template <typename Work>
Timing time_batches(std::uint64_t operations, std::uint64_t batches, Work&& work) {
  using Clock = std::chrono::steady_clock;
  Timing timing;
  batches = std::clamp<std::uint64_t>(batches, 1, std::max<std::uint64_t>(operations, 1));
  timing.batches.reserve(batches);
  const std::uint64_t sleeps = sleeps_of_this_thread();
  for (std::uint64_t batch = 0; batch < batches; ++batch) {
    const std::uint64_t size = operations * (batch + 1) / batches - operations * batch / batches;
    const auto start = Clock::now();
    work(size);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    timing.operations += size;
    timing.seconds += seconds;
    timing.batches.push_back(seconds * 1e9 / static_cast<double>(size));
  }
  timing.sleeps = sleeps_of_this_thread() - sleeps;
  return timing;
}

/// {"operations":N,"seconds":S,"mean_ns":...,"median_ns":...,"best_ns":...,"sleeps":N}: of one
/// operation; median and best are those of the batches.
std::string to_json(const Timing& timing);

}  // namespace godwit::bench
