// What tests need to play an agent: the socket that links find, and the agent's side of one
// connection.
//
// Both block. A conversation may be read on one thread and written on another.
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

#include "godwit/agent_link.h"
#include "godwit/endpoints/agent.pb.h"
#include "support/message_socket.h"

namespace godwit::endpoints_tests {

class Conversation {
 public:
  using Request = endpoints::proto::Request;
  using Response = endpoints::proto::Response;

  static constexpr std::chrono::milliseconds kPatience{10'000};

  explicit Conversation(int fd) : socket_(fd) {}

  /// Nothing at the connection's end, or after so long (negative: never).
  std::optional<Request> receive(std::chrono::milliseconds patience = kPatience) {
    return socket_.receive<Request>(patience);
  }
  /// False if the other side is gone.
  bool try_send(const Response& response) { return socket_.send(response); }
  void send(const Response& response) { EXPECT_TRUE(try_send(response)); }
  void send_bytes(const std::string& bytes) { EXPECT_TRUE(socket_.send_bytes(bytes)); }
  /// Ends it for both sides; any thread.
  void hang_up() const { ::shutdown(socket_.fd(), SHUT_RDWR); }

  /// The DC `demo`, number 1.
  static void grant_demo(Response& response) {
    auto& grant = *response.add_dcs();
    grant.set_id(1);
    grant.set_name("demo");
    grant.set_key(std::string(32, 'k'));
  }
  static Response welcome_to(const Request& hello, bool granting = true) {
    Response response;
    response.set_number(hello.number());
    response.mutable_hello()->set_version(1);
    response.mutable_hello()->set_node("fake");
    response.mutable_hello()->set_listen_host("127.0.0.1");
    if (granting) grant_demo(response);
    return response;
  }
  Request welcome(bool again = false, bool granting = true) {
    auto hello = receive();
    EXPECT_TRUE(hello && hello->has_hello());
    if (!hello) return {};
    EXPECT_EQ(hello->hello().again(), again);
    send(welcome_to(*hello, granting));
    return *hello;
  }
  static Response done_with(const Request& request) {
    Response response;
    response.set_number(request.number());
    response.mutable_done();
    return response;
  }
  void done(const Request& request) { send(done_with(request)); }
  void bound(const Request& request, std::uint32_t slot) {
    Response response;
    response.set_number(request.number());
    grant_demo(response);
    for (const auto& item : request.bind().items()) {
      auto& place = *response.mutable_bind()->add_results()->mutable_place();
      fill(place, slot++, item.name().empty() ? "" : item.dc() + "/" + item.name());
    }
    send(response);
  }
  static void fill(endpoints::proto::Place& place, std::uint32_t slot, const std::string& name,
                   EndpointState state = EndpointState::serving) {
    place.set_dc(1);
    place.set_slot(slot);
    place.set_generation(1);
    place.set_lineage(100 + slot);
    place.set_epoch(1);
    place.set_state(static_cast<std::uint32_t>(state));
    place.set_name(name);
    place.set_node("fake");
  }

 private:
  test_support::MessageSocket socket_;
};

/// The socket in a runtime directory.
class AgentListener {
 public:
  explicit AgentListener(const std::string& run) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = agent_socket_path(run);
    ::unlink(path.c_str());
    std::memcpy(address.sun_path, path.data(), path.size());
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_, 16), 0);
  }
  AgentListener(const AgentListener&) = delete;
  AgentListener& operator=(const AgentListener&) = delete;
  ~AgentListener() { ::close(fd_); }

  Conversation accept() {
    pollfd fd{fd_, POLLIN, 0};
    EXPECT_EQ(::poll(&fd, 1, static_cast<int>(Conversation::kPatience.count())), 1);
    return Conversation(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
  }
  /// Nothing once the socket was shut.
  std::optional<Conversation> accept_or_end() {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return std::nullopt;
    return Conversation(fd);
  }
  /// Ends accept_or_end(); any thread.
  void shut() const { ::shutdown(fd_, SHUT_RDWR); }

 private:
  int fd_ = -1;
};

}  // namespace godwit::endpoints_tests
