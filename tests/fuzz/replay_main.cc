// A stand-in for libFuzzer's main, for compilers that have none: it feeds a fuzz target the files
// of its corpus, seeded mutations of them, and random bytes. No coverage guides it; its use is that
// every build of the tests runs every parser over bad input. The same arguments give the same
// inputs, so a crash repeats under a debugger.
//
// usage: fuzz_NAME [CORPUS_FOLDER]

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr int kMutations = 20'000;
constexpr std::size_t kMaxRandomSize = 512;

std::vector<Bytes> read_corpus(const std::filesystem::path& folder) {
  std::vector<Bytes> corpus;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

class Mutator {
 public:
  Bytes random_input() {
    Bytes bytes(below(kMaxRandomSize));
    for (auto& byte : bytes) byte = random_byte();
    return bytes;
  }

  Bytes mutate(Bytes bytes) {
    for (std::size_t round = 1 + below(4); round > 0; --round) mutate_once(bytes);
    return bytes;
  }

  std::size_t below(std::size_t bound) { return random_() % bound; }

 private:
  std::uint8_t random_byte() { return static_cast<std::uint8_t>(random_()); }

  void mutate_once(Bytes& bytes) {
    if (bytes.empty()) {
      bytes.push_back(random_byte());
      return;
    }
    const auto at = static_cast<std::ptrdiff_t>(below(bytes.size()));
    switch (below(6)) {
      case 0:  // A single flipped bit.
        bytes[at] ^= static_cast<std::uint8_t>(1U << below(8));
        break;
      case 1:  // The values at which lengths and counts go wrong.
        bytes[at] = below(2) == 0 ? 0x00 : 0xff;
        break;
      case 2:
        bytes[at] = random_byte();
        break;
      case 3:  // Truncated.
        bytes.resize(static_cast<std::size_t>(at));
        break;
      case 4:
        bytes.insert(bytes.begin() + at, random_byte());
        break;
      default:  // A repeated tail.
        bytes.insert(bytes.end(), bytes.begin() + at,
                     bytes.begin() + at + (bytes.end() - bytes.begin() - at) / 2);
        break;
    }
  }

  std::mt19937_64 random_{20'000};
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<Bytes> corpus;
  if (argc > 1) {
    corpus = read_corpus(argv[1]);
    if (corpus.empty()) {
      std::fprintf(stderr, "the corpus %s is empty\n", argv[1]);
      return 1;
    }
  }
  LLVMFuzzerTestOneInput(nullptr, 0);
  for (const Bytes& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
  Mutator mutator;
  for (int i = 0; i < kMutations; ++i) {
    const Bytes input = corpus.empty() || i % 8 == 0
                            ? mutator.random_input()
                            : mutator.mutate(corpus[mutator.below(corpus.size())]);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu corpus files and %d generated inputs\n", corpus.size(), kMutations);
  return 0;
}
