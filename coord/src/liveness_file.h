// LivenessFile: the memory shared by the participants of one local directory. A slot
// for each session, where its owner stamps that it lives, and a counter that rises at
// each change, on which all of them sleep.
//
// It says nothing that must last: the database decides which sessions exist, and which
// slot is whose (a slot is given and taken under the database's write lock). So a
// process killed at any moment leaves nothing here to repair, and there are no locks.
// It stands in /dev/shm, since a stamp in a file system with a journal could wait for
// the disk for longer than a session lasts.
//
// Owner: LocalStore, shared with the heartbeat thread. All methods: any thread.
#pragma once

#include <godwit/coord/coordinator.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace godwit::coord {

// Sessions (agents) of one local directory at once.
inline constexpr std::uint32_t kMaxSessions = 256;

// What tells one process of this machine from all others, now.
struct ProcessIdentity {
  pid_t pid = 0;
  std::uint64_t pid_namespace = 0;
  static ProcessIdentity of_this();
};

class LivenessFile {
 public:
  struct Slot {
    std::atomic<std::uint64_t> session;  // 0: free
    std::atomic<std::int64_t> heartbeat_ns;
    std::atomic<std::int64_t> timeout_ns;
    std::atomic<std::uint64_t> pid_namespace;
    std::atomic<std::int32_t> pid;
  };

  // Creates the file with its space reserved (a full disk is no_space here, not a
  // SIGBUS later). `id` tells it from others at the same path.
  static Result<std::shared_ptr<LivenessFile>> create(const std::string& path, std::uint64_t id);
  // no_node when there is no such file, corrupt when it is not ours or has another id.
  static Result<std::shared_ptr<LivenessFile>> open(const std::string& path, std::uint64_t id);
  LivenessFile(const LivenessFile&) = delete;
  LivenessFile& operator=(const LivenessFile&) = delete;
  ~LivenessFile();

  // False once the file was removed under us (a clean-up of /dev/shm): later
  // participants cannot find it, so everybody must move to a new one.
  bool still_linked() const;

  Slot& slot(std::uint32_t index);
  void claim(std::uint32_t index, SessionId session, std::chrono::nanoseconds timeout,
             ProcessIdentity owner);
  // Frees the slot if it is still that session's.
  void release(std::uint32_t index, SessionId session);
  // Stamps that the session lives. False when the slot is no longer the session's.
  bool beat(std::uint32_t index, SessionId session);

  std::uint32_t changes() const;
  // Tells everybody that something was committed.
  void announce_change();
  // Sleeps until changes() differs from `seen`, at most for `time`.
  void wait_change(std::uint32_t seen, std::chrono::nanoseconds time);

  // A writer that waits for the database's lock says so; one that has just committed
  // asks, and lets the other go first. A stamp, not a count: a waiter may be killed.
  void announce_waiting();
  bool anyone_waiting() const;

 private:
  struct Layout;
  LivenessFile(int fd, Layout* layout) : fd_(fd), layout_(layout) {}
  static Result<Layout*> map(int fd, const std::string& path);

  int fd_;
  Layout* layout_;
};

// CLOCK_MONOTONIC, the same for all processes of a machine until it restarts.
std::int64_t monotonic_ns();

}  // namespace godwit::coord
