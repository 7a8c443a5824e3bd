// The corpora of the fuzz targets, for tests that send them over a real connection.
#pragma once

#include <string>
#include <vector>

namespace godwit::fabric::testing {

struct CorpusEntry {
  std::string name;  // "handshake/old_hello"
  std::string bytes;
};

/// Every file of the corpora that are about bytes from a peer, in the order of their names, and
/// what was cut off or changed in some of them.
std::vector<CorpusEntry> hostile_corpus();

}  // namespace godwit::fabric::testing
