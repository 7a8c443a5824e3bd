// The agent's socket: when what it says leaves.
#include "agent/session_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>

#include "support/agent_process.h"
#include "support/message_socket.h"

namespace godwit::node {
namespace {

/// Answers one request, looking at the other end of the connection between its steps.
class OneAnswer final : public SessionServer::Handler {
 public:
  explicit OneAnswer(EventLoop& loop) : loop_(loop) {}

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
  int client = -1;
  std::size_t sent_at_once = 0, hurried = 0;  // bytes at the client

 private:
  std::size_t arrived() const {
    char bytes[256];
    const ssize_t got = ::recv(client, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    return got > 0 ? static_cast<std::size_t>(got) : 0;
  }

  EventLoop& loop_;
};

TEST(SessionServerTest, WhatIsHurriedLeavesBeforeTheEndOfTheRound) {
  const test_support::TemporaryFolder folder;
  const std::string path = folder.path() + "/agent.sock";
  const auto loop = EventLoop::create();
  ASSERT_TRUE(loop);
  OneAnswer handler(**loop);
  const auto server = SessionServer::open(**loop, path, 0600, handler);
  ASSERT_TRUE(server) << server.error().to_string();
  const auto client = test_support::MessageSocket::connect(path);
  handler.server = server->get();
  handler.client = client.fd();
  endpoints::proto::Request request;
  request.set_number(7);
  ASSERT_TRUE(client.send(request));
  (*loop)->run();
  EXPECT_EQ(handler.sent_at_once, 0u) << "what is sent leaves in one piece with what follows it";
  EXPECT_GT(handler.hurried, 0u);
}

}  // namespace
}  // namespace godwit::node
