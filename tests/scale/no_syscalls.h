// NoSystemCalls: from its construction on, the calling thread ends the process when it makes a
// system call, saying which. There is no way back (seccomp): use it in a child process made for the
// purpose.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace scale {

/// Installs the filter for the calling thread. Allowed are exit_group, and write to standard error
/// and standard output. A look at an epoll set is answered `nothing ready` without the kernel, and
/// counted. Returns what prevents it, or an empty string.
std::string forbid_system_calls();
std::uint64_t epoll_looks() noexcept;  // of all threads

/// Whether the clock costs a system call on this machine (no vDSO): then nothing that measures time
/// can go without.
bool clock_needs_system_call();

/// Runs `body` in a forked child. The child's exit status: 0 if `body` returned true; its output
/// and the name of a forbidden system call are in `output`.
struct ChildResult {
  bool ok = false;
  std::string output;
};
ChildResult in_child(const std::function<bool()>& body);

}  // namespace scale
