#include "fabric/hostile/corpus.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace godwit::fabric::testing {

std::vector<CorpusEntry> hostile_corpus() {
  namespace fs = std::filesystem;
  std::vector<CorpusEntry> entries;
  for (const char* target :
       {"address", "handshake", "tcp_frames", "ucx_message", "verbs_message"}) {
    for (const auto& file : fs::directory_iterator(fs::path(GODWIT_FUZZ_CORPUS) / target)) {
      std::ifstream stream(file.path(), std::ios::binary);
      entries.push_back({std::string(target) + "/" + file.path().filename().string(),
                         {std::istreambuf_iterator<char>(stream), {}}});
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  const std::size_t files = entries.size();
  for (std::size_t i = 0; i < files; ++i) {
    const std::string bytes = entries[i].bytes;
    if (bytes.empty()) continue;
    entries.push_back({entries[i].name + ", cut", bytes.substr(0, bytes.size() / 2)});
    std::string turned = bytes;
    turned[bytes.size() / 3] = static_cast<char>(~turned[bytes.size() / 3]);
    entries.push_back({entries[i].name + ", changed", turned});
    // The first byte of the handshake's and the tcp frames' entries steers their fuzz targets.
    entries.push_back({entries[i].name + ", from 1", bytes.substr(1)});
  }
  return entries;
}

}  // namespace godwit::fabric::testing
