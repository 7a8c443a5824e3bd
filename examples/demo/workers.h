// The worker processes of the demonstration. Each role is this same program, started again with
// `--worker ROLE`; it says what happens in lines on its standard output
// (local_cluster/worker_line.h) and ends on SIGTERM or when its work is done.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "godwit/process.h"

namespace demo {

inline constexpr const char* kDc = "demo";
inline constexpr const char* kStore = "demo/kv";       // the key-value server
inline constexpr const char* kSilent = "demo/silent";  // of the same process; never answers
inline constexpr const char* kLedger = "demo/ledger";  // checks the sequence of each client
inline constexpr const char* kMobile = "demo/mobile";  // the key-value server that moves
inline constexpr const char* kMobileProgram = "mobile";
inline constexpr const char* kArchive = "demo/archive";  // grants its memory

struct WorkerOptions {
  std::string role;
  std::string runtime_directory;
  std::string transport;  // force this one; empty: the best
  std::uint32_t milliseconds = 1000;
  std::uint32_t window = 1;  // calls in flight
  std::uint32_t mebibytes = 64;
  std::uint32_t index = 0;  // of a client among its like
  bool stand_by = false;    // do not bind, wait for a move
  std::string path;         // cut: transports to visit, "tcp,ucx,shm"
};

/// Runs a role to its end; the process's exit status.
int run_worker(const WorkerOptions& options);

// The roles, one per file.
int serve_store(const WorkerOptions& options);
int call_store(const WorkerOptions& options);
int serve_archive(const WorkerOptions& options);
int copy_archive(const WorkerOptions& options);
int watch_store(const WorkerOptions& options);
int serve_mobile(const WorkerOptions& options);
int call_mobile(const WorkerOptions& options);
int serve_ledger(const WorkerOptions& options);
int write_ledger(const WorkerOptions& options);

// What they share.

/// Attaches to the node's agent; says `unavailable` and returns null where that transport is not
/// built or the machine lacks it, exits where anything else fails. `crowd`: so many processes are
/// busy at once; on fewer processors it does not poll, which would keep one from whom it waits for.
std::unique_ptr<godwit::Process> attach(const WorkerOptions& options, unsigned crowd = 0);

/// Takes the value or says `failed` with the error, and exits with status 1.
template <typename T>
T need(godwit::Result<T> result, const char* what);
[[noreturn]] void say_failed(const char* what, const godwit::Error& error);

/// Nanoseconds of the machine's monotonic clock: the same in all processes.
std::uint64_t now_ns();

std::string transport_name(godwit::Process& process, const godwit::Endpoint& from,
                           const godwit::Remote& to);

template <typename T>
T need(godwit::Result<T> result, const char* what) {
  if (!result) say_failed(what, result.error());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace demo
