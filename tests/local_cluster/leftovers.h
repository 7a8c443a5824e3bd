// What is left of a run: looks at /proc, so it sees everybody's processes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <string>

/// The number of the namespace that a descriptor is of.
std::uint64_t inode_of(int fd);

/// Whether a process is in this network namespace or holds it open.
bool is_used(std::uint64_t network_namespace);
/// False also for one that has ended and whose parent has not asked for its status.
bool is_alive(pid_t pid);
/// Names of the interfaces of this process's network namespace.
std::set<std::string> interfaces();

/// Waits for what the kernel does in the background; false if it does not come in time.
bool eventually(const std::function<bool()>& holds,
                std::chrono::milliseconds limit = std::chrono::seconds(20));
