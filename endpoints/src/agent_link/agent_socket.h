// AgentSocket: one connection to the agent, non-blocking, as a stream of messages.
//
// Owner and only user: the link's thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "godwit/agent_protocol.h"
#include "godwit/error.h"

namespace godwit::agent_link {

class AgentSocket {
 public:
  /// Unix sockets connect at once or not at all. Errors: agent_unavailable, permission_denied,
  /// invalid_argument (a path that is too long).
  static Result<AgentSocket> connect(const std::string& path);
  AgentSocket(AgentSocket&& other) noexcept;
  AgentSocket& operator=(AgentSocket&& other) noexcept;
  ~AgentSocket();

  template <typename Message>
  void queue(const Message& message) {
    agent_protocol::append(message, out_);
  }
  void queue_bytes(std::string_view bytes) { out_.append(bytes); }

  /// Writes as much as the socket takes.
  Result<void> flush();
  bool has_output() const noexcept { return sent_ < out_.size(); }

  /// Reads what is there and hands over each whole message. An error also for the end of the
  /// stream.
  Result<void> read(const std::function<Result<void>(std::string_view)>& on_message);

  int fd() const noexcept { return fd_; }

 private:
  explicit AgentSocket(int fd) : fd_(fd) {}

  int fd_;
  std::string out_;
  std::size_t sent_ = 0;
  agent_protocol::MessageReader reader_;
};

}  // namespace godwit::agent_link
