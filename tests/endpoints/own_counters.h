// The counters that this process has written to its file.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "godwit/counters.h"
#include "godwit/fabric/transport.h"

namespace godwit {

/// Sums what `counter` shows over the engines of this process; some of it is written down only when
/// an engine goes to sleep.
template <typename Of>
std::uint64_t own_counter(const std::string& runtime_directory, Of counter) {
  std::uint64_t sum = 0;
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator(runtime_directory + "/counters", ignored)) {
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    void* mapped = mmap(nullptr, sizeof(CountersPage), PROT_READ, MAP_SHARED, fd, 0);
    ::close(fd);
    if (mapped == MAP_FAILED) continue;
    const auto& page = *static_cast<const CountersPage*>(mapped);
    if (page.magic == CountersPage::kMagic && page.pid == static_cast<std::uint32_t>(getpid())) {
      for (const EngineCounters& engine : page.engines) sum += counter(engine).get();
    }
    munmap(mapped, sizeof(CountersPage));
  }
  return sum;
}

inline std::uint64_t own_counter(const std::string& runtime_directory, fabric::TransportKind kind,
                                 Counter EngineCounters::PerTransport::*counter) {
  return own_counter(runtime_directory, [&](const EngineCounters& engine) -> const Counter& {
    return engine.transport[static_cast<std::size_t>(kind)].*counter;
  });
}

}  // namespace godwit
