// The agent's socket: when what it says leaves.
#include "agent/session_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "support/agent_process.h"

namespace godwit::node {
namespace {

/// Answers one request, looking at the other end of the connection between its steps.
class OneAnswer final : public SessionServer::Handler {
 public:
  OneAnswer(EventLoop& loop, int client) : loop_(loop), client_(client) {}

  void on_request(Session& session, endpoints::proto::Request& request) override {
    endpoints::proto::Response response;
    response.set_number(request.number());
    response.mutable_done();
    EXPECT_TRUE(server->send(session.number, response));
    sent_at_once = arrived();
    server->hurry(session.number);
    hurried = arrived();
    loop_.stop();
  }
  void on_session_closed(const Session&) override {}

  SessionServer* server = nullptr;
  std::size_t sent_at_once = 0, hurried = 0;  // bytes at the client

 private:
  std::size_t arrived() const {
    char bytes[256];
    const ssize_t got = ::recv(client_, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    return got > 0 ? static_cast<std::size_t>(got) : 0;
  }

  EventLoop& loop_;
  const int client_;
};

TEST(SessionServerTest, WhatIsHurriedLeavesBeforeTheEndOfTheRound) {
  const test_support::TemporaryFolder folder;
  const std::string path = folder.path() + "/agent.sock";
  const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_GE(client, 0);
  const auto loop = EventLoop::create();
  ASSERT_TRUE(loop);
  OneAnswer handler(**loop, client);
  {
    const auto server = SessionServer::open(**loop, path, 0600, handler);
    ASSERT_TRUE(server) << server.error().to_string();
    handler.server = server->get();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    ASSERT_EQ(::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    endpoints::proto::Request request;
    request.set_number(7);
    std::string bytes;
    agent_protocol::append(request, bytes);
    ASSERT_EQ(::send(client, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    (*loop)->run();
  }
  EXPECT_EQ(handler.sent_at_once, 0u) << "what is sent leaves in one piece with what follows it";
  EXPECT_GT(handler.hurried, 0u);
  ::close(client);
}

}  // namespace
}  // namespace godwit::node
