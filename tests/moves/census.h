// Census: the bank's processes of one run on this machine, whoever has started them: those that the
// tester started, and those that agents started for a move. Found by the ledgers' folder on their
// command lines.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace moves {

struct BankProcess {
  pid_t pid = 0;
  std::string node;
};

/// By pid. `folder`: of the ledgers. Processes that have ended are none.
std::vector<BankProcess> find_banks(const std::string& folder);

/// Open descriptors of a process; 0 if it is gone.
std::size_t open_descriptors(pid_t pid);

}  // namespace moves
