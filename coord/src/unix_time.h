// The wall clock, for stamps that people read. Any thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace godwit::coord {

inline std::int64_t unix_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace godwit::coord
