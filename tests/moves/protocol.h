// What clients and bank say to each other. Each client numbers what it sends and what it calls in
// one row, from 1: the bank accepts only the next number, so a loss, a repetition or a change of
// order is seen at once, whatever moved in between. When the bank's memory is lost with its
// process, the next bank begins a new life, and every client begins again at 1.
#pragma once

#include <cstdint>

namespace moves {

struct Operation {
  std::uint32_t client;
  std::uint32_t reserved;
  std::uint64_t number;
};

enum class Verdict : std::uint32_t { ok = 0, repeated = 1, missing = 2, bad = 3 };

struct Answer {
  Verdict verdict;
  std::uint32_t place;   // the bank's process at this moment
  std::uint64_t number;  // of the operation
  std::uint64_t total;   // operations of this client that were executed
  std::uint64_t life;    // of the bank's memory: another one after it was lost
};

}  // namespace moves
