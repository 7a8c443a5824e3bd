// Owner of a TCP socket, and the few socket operations that the tcp transport needs.
//
// All sockets are non-blocking and close-on-exec. Any thread, one at a time.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <utility>

#include "godwit/error.h"
#include "godwit/fabric/address.h"

namespace godwit::fabric::tcp {

/// The operating system's form of a numeric host and port.
struct SocketName {
  sockaddr_storage storage{};
  socklen_t size = 0;

  static Result<SocketName> of(const SocketAddress& address);
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) noexcept : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { reset(); }

  /// A new socket for that family of addresses.
  static Result<Socket> create(int family);

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  void reset() noexcept;

  /// The port it is bound to; 0 if none.
  std::uint16_t port() const noexcept;

  /// What every connection has: no delay, and the kernel's keepalive: after one second of silence,
  /// its shortest interval, it probes, and breaks the connection one second later.
  /// `send_buffer` and `receive_buffer` in bytes; 0 leaves the kernel's automatic sizes.
  void tune(int send_buffer, int receive_buffer) const noexcept;

  enum class Delivery : std::uint8_t {
    acknowledged,  // all that was written has arrived
    pending,
    unanswered,  // repeated in vain, and nothing at all was heard for 600 ms: the host is gone
  };
  /// How what was written fares. Not left to TCP_USER_TIMEOUT: that breaks the connection to a
  /// living peer, too, when it does not read for that long and its window is closed.
  Delivery delivery() const noexcept;

 private:
  int fd_ = -1;
};

}  // namespace godwit::fabric::tcp
