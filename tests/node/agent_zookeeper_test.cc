// The agent over a real ZooKeeper: what works while that is away, and that the rest comes back.
#include <thread>

#include "node/move_fixture.h"
#include "support/zookeeper_server.h"

namespace godwit::node_tests {
namespace {

class AgentRealZooKeeperTest : public MoveTest {
 protected:
  void SetUp() override {
    if (const auto why = test_support::ZooKeeperServer::unavailable()) GTEST_SKIP() << *why;
    zookeeper_ = test_support::ZooKeeperServer::start();
    ASSERT_TRUE(zookeeper_);
    directory_ = "zookeeper:" + zookeeper_->address() + "/test";
  }
  std::unique_ptr<test_support::ZooKeeperServer> zookeeper_;
};

TEST_F(AgentRealZooKeeperTest, KnownNamesOutliveItAndNewBindsFailClearlyUntilItIsBack) {
  const auto one = start_agent("one", {"--session-timeout", "4s"});
  const auto two = start_agent("two", {"--session-timeout", "4s"});
  ASSERT_TRUE(one && two);
  const auto a = attach(*one);
  AgentLinkOptions options;
  options.runtime_directory = two->run();
  options.request_timeout = 1500ms;
  const auto b = AgentLink::attach(options).value();
  const auto bound = bind_at(*a, "demo", "echo");
  ASSERT_TRUE(bound) << bound.error().to_string();
  ASSERT_TRUE(resolve(*b, "demo/echo"));

  zookeeper_->stop();
  EXPECT_EQ(resolve(*b, "demo/echo")->id, bound->id);
  const auto refused = bind_at(*b, "demo", "new");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::agent_unavailable);
  EXPECT_NE(refused.error().message.find("directory cannot be reached"), std::string::npos)
      << refused.error().message;

  ASSERT_TRUE(zookeeper_->launch());
  ASSERT_TRUE(zookeeper_->wait_serving(20s));
  Result<EndpointPlace> again = fail(Errc::agent_unavailable);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!again && std::chrono::steady_clock::now() < deadline) again = bind_at(*b, "demo", "new");
  EXPECT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(resolve(*a, "demo/echo")->id, bound->id);
}

TEST_F(AgentRealZooKeeperTest, AGroupMovesThereAndBackAgain) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  const auto server = start_server(*one, {"kv", "kv/log"});
  const auto standby = start_standby(*two);
  const auto there = plan(*one, "demo/kv", "two");
  ASSERT_TRUE(there) << there.error().to_string();
  ASSERT_TRUE(server->wait("order gone epoch 2")) << server->said();
  ASSERT_TRUE(standby->wait("says over")) << standby->said();
  const auto third = start_standby(*one, {"restored"});
  const auto back = plan(*one, "demo/kv", "one");
  ASSERT_TRUE(back) << back.error().to_string();
  ASSERT_TRUE(standby->wait("says parked"));
  third->kill();
  ASSERT_TRUE(standby->wait("order resume epoch 3")) << standby->said();
  wait_state(*two, back->id(), "aborted");
  for (const char* name : {"demo/kv", "demo/kv/log"}) {
    EXPECT_TRUE(serves(endpoint(*one, name), "two", 3));
  }
}

TEST_F(AgentRealZooKeeperTest, TellsOfAKilledProcess) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  auto holder = start_holder(*one, {"victim"});
  const auto far = attach(*two);
  Told told;
  far->set_listener(&told);
  const auto place = resolve(*far, "demo/victim");
  ASSERT_TRUE(place);
  const auto killed = std::chrono::steady_clock::now();
  holder->kill();
  EXPECT_TRUE(told.wait_state(place->id, EndpointState::dead));
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 1s);
  far->set_listener(nullptr);
}

}  // namespace
}  // namespace godwit::node_tests
