// What this process and the machine hold, for tests that count it before and after.
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>

namespace godwit::fabric::testing {

/// Open descriptors of this process.
inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

/// "qp 3 cm_id 5 mr 7 ..." of all RDMA devices, as the kernel counts them.
inline std::string kernel_objects() {
  std::string text;
  FILE* pipe = popen("rdma resource show 2>/dev/null", "r");
  if (pipe == nullptr) return text;
  char line[256];
  while (std::fgets(line, sizeof line, pipe) != nullptr) text += line;
  pclose(pipe);
  return text;
}

}  // namespace godwit::fabric::testing
