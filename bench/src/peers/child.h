// The other process of a peer test: forked, pinned, and waited for.
#pragma once

#include <functional>
#include <string>

#include "peers/peers.h"

namespace godwit::bench {

/// Throws std::system_error with errno.
[[noreturn]] void fail_errno(const std::string& what);

/// Pins the calling process to options.parent_cpu, and the child that runs `body` to child_cpu. The
/// destructor waits for the child.
class Child {
 public:
  Child(const PeerOptions& options, const std::function<void()>& body);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

 private:
  int pid_;
};

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

/// All of it, however many calls that takes.
void write_all(int fd, const std::byte* data, std::size_t size);
void read_all(int fd, std::byte* data, std::size_t size);

}  // namespace godwit::bench
