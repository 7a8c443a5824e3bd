// Owners of the pieces that a shared-memory connection is made of: descriptors, mappings, and the
// peer's arena as long as a message still lies in it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "godwit/error.h"
#include "godwit/fabric/buffer.h"

namespace godwit::fabric::shm {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// A mapped memfd.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Mapping();

  /// Maps `fd` read-only after checking that it is at least `size` bytes and sealed against
  /// shrinking (otherwise the peer could make us fault).
  static Result<Mapping> of_peer(int fd, std::size_t size);

  /// A new memfd of ours, mapped for writing and sealed so that peers can only read it.
  static Result<Mapping> create(const char* name, std::size_t size, Descriptor& fd);

  std::byte* base() const noexcept { return base_; }
  std::size_t size() const noexcept { return size_; }

 private:
  Mapping(void* base, std::size_t size) : base_(static_cast<std::byte*>(base)), size_(size) {}
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

/// The socket of a connection: shared by the connection and by whatever must tell the peer, later
/// than the connection's end, that its memory is no longer used.
using SharedSocket = std::shared_ptr<const Descriptor>;

/// The peer's arena, mapped read-only. Lives as long as the connection or any Buffer in it.
/// Buffers may be destroyed on any thread.
class PeerArena {
 public:
  /// `wake_fd`: an eventfd that wakes the engine, for releases on other threads.
  PeerArena(Mapping mapping, SharedSocket socket, int wake_fd);

  std::size_t size() const noexcept { return mapping_.size(); }

  /// The bytes at `offset`, which must lie inside. The Buffer keeps the mapping.
  Buffer borrow(std::uint64_t offset, std::size_t length);

  /// Offsets given back since the last call. Engine's thread.
  bool has_returned() const noexcept { return has_returned_.load(std::memory_order_relaxed); }
  std::vector<std::uint64_t> take_returned();

  /// The connection's own hold. Dropping the last one tells the peer that none of its memory is
  /// used.
  void hold() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  void drop() noexcept;

 private:
  ~PeerArena();
  static void give_back(void* context, std::uint64_t offset) noexcept;

  Mapping mapping_;
  SharedSocket socket_;
  Descriptor wake_;
  std::thread::id engine_thread_;
  std::atomic<std::uint32_t> holders_{1};
  std::mutex mutex_;
  std::vector<std::uint64_t> returned_;
  std::atomic<bool> has_returned_{false};
};

/// Messages on the socket of a connection; each datagram starts with one of these bytes.
enum SocketMessage : char {
  kHandshakeMessage = 'H',
  kSetupMessage = 'S',  // with the descriptors
  kByeMessage = 'B',    // the connection is closed; memory may still be in use
  kDoneMessage = 'D',   // no memory of yours is in use any more
};

/// Sends one short datagram without blocking; a peer that is gone is no error.
void tell(int socket, SocketMessage message) noexcept;

}  // namespace godwit::fabric::shm
