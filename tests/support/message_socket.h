// MessageSocket: one connection of the agent's protocol (agent_protocol.h) for tests, at either
// end. Blocks.
//
// May be read on one thread and written on another.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "godwit/agent_protocol.h"

namespace godwit::test_support {

class MessageSocket {
 public:
  explicit MessageSocket(int fd) : fd_(fd) {}
  MessageSocket(MessageSocket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), reader_(std::move(other.reader_)) {}
  ~MessageSocket() {
    if (fd_ >= 0) ::close(fd_);
  }

  /// To the socket at a path; a failure of the test if nobody listens there.
  static MessageSocket connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
        << path;
    return MessageSocket(fd);
  }

  int fd() const noexcept { return fd_; }

  /// Nothing at the connection's end, or after so long (negative: never).
  template <typename Message>
  std::optional<Message> receive(std::chrono::milliseconds patience) {
    while (true) {
      const auto next = reader_.next();
      if (!next) return std::nullopt;
      if (next->whole) {
        Message message;
        if (!message.ParseFromString(std::string(next->message))) return std::nullopt;
        return message;
      }
      pollfd fd{fd_, POLLIN, 0};
      if (::poll(&fd, 1, static_cast<int>(patience.count())) <= 0) return std::nullopt;
      const ssize_t got = ::recv(fd_, reader_.prepare(65536), 65536, 0);
      if (got <= 0) return std::nullopt;
      reader_.commit(static_cast<std::size_t>(got));
    }
  }
  /// False if the other side is gone.
  template <typename Message>
  bool send(const Message& message) const {
    std::string bytes;
    agent_protocol::append(message, bytes);
    return send_bytes(bytes);
  }
  bool send_bytes(const std::string& bytes) const {
    return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }

 private:
  int fd_;
  agent_protocol::MessageReader reader_;
};

}  // namespace godwit::test_support
