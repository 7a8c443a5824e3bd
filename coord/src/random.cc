#include "random.h"

#include <sys/random.h>

#include <cstdlib>

namespace godwit::coord {

std::uint64_t random_u64() {
  std::uint64_t number = 0;
  while (number == 0) {
    // Up to 256 bytes it is never cut short; it fails only where the call is forbidden,
    // and without it nothing here is safe.
    if (getrandom(&number, sizeof number, 0) != sizeof number) std::abort();
  }
  return number;
}

}  // namespace godwit::coord
