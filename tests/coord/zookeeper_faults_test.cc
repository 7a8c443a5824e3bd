// ZooKeeperCoordinator when its server, its ensemble or its connection fails.
#include "coord/backend.h"
#include "coord/cutting_proxy.h"
#include "support/zookeeper_server.h"

#include <godwit/coord/blocking.h>
#include <godwit/coord/zookeeper_coordinator.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <random>
#include <set>

namespace godwit::coord {
namespace {

using namespace std::chrono_literals;
using test_support::ZooKeeperEnsemble;
using test_support::ZooKeeperServer;

class RealZooKeeperFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = ZooKeeperServer::unavailable()) GTEST_SKIP() << *reason;
  }
  std::unique_ptr<ZooKeeperCoordinator> open(const std::string& servers,
                                             std::chrono::milliseconds timeout) {
    ZooKeeperOptions options;
    options.servers = servers;
    options.session_timeout = timeout;
    options.on_session = [this](SessionEvent event) {
      disconnected_ += event == SessionEvent::disconnected;
      expired_ += event == SessionEvent::expired;
    };
    auto opened = ZooKeeperCoordinator::open(std::move(options));
    if (!opened || !eventually([&] { return (*opened)->connected(); })) {
      ADD_FAILURE() << "not connected";
      return nullptr;
    }
    return std::move(*opened);
  }
  std::atomic<int> disconnected_{0};
  std::atomic<int> expired_{0};
};

template <typename T>
Errc code_of(const Result<T>& result) {
  EXPECT_FALSE(result.has_value()) << "succeeded, but must not";
  return result ? Errc::closed : result.error().code;
}

TEST_F(RealZooKeeperFaults, AKilledServerThatReturnsKeepsSessionAndWrites) {
  auto server = ZooKeeperServer::start();
  ASSERT_NE(server, nullptr);
  auto c = open(server->address(), 8s);
  ASSERT_NE(c, nullptr);
  ASSERT_TRUE(blocking::create(*c, "/e", "", CreateMode::ephemeral, soon()));
  const SessionId session = c->session_id();
  // Writes under way while it dies: each is answered, once, and truly.
  constexpr int kCount = 3000;
  std::mutex mutex;
  std::set<int> ok;
  std::set<int> unknown;
  std::atomic<int> answered{0};
  for (int i = 0; i < kCount; ++i)
    c->create("/w" + std::to_string(i), "", CreateMode::persistent, after(60s),
              [&, i](const Result<Stat>& result) {
                std::lock_guard lock(mutex);
                if (result) {
                  ok.insert(i);
                } else {
                  unknown.insert(i);
                }
                ++answered;
              });
  ASSERT_TRUE(eventually([&] { return answered > 200; }));
  server->kill();
  EXPECT_EQ(code_of(blocking::create(*c, "/x", "", CreateMode::persistent, after(300ms))),
            Errc::unavailable);
  ASSERT_TRUE(server->launch());
  ASSERT_TRUE(eventually([&] { return answered == kCount; }, 60s));
  EXPECT_EQ(ok.size(), std::size_t{kCount});
  EXPECT_EQ(blocking::list(*c, "/", soon())->names.size(), std::size_t{kCount} + 2);
  EXPECT_EQ(disconnected_, 1);
  EXPECT_EQ(expired_, 0);
  EXPECT_EQ(c->session_id(), session);
  EXPECT_TRUE(blocking::get(*c, "/e", soon()));
}

TEST_F(RealZooKeeperFaults, AClientCutOffForTooLongGetsANewSession) {
  auto server = ZooKeeperServer::start();
  ASSERT_NE(server, nullptr);
  CuttingProxy proxy(server->port());
  auto c = open(proxy.address(), 2s);
  ASSERT_NE(c, nullptr);
  auto witness = open(server->address(), 10s);
  ASSERT_NE(witness, nullptr);
  std::atomic<int> watched{0};
  ASSERT_TRUE(blocking::create(*c, "/e", "", CreateMode::ephemeral, soon()));
  ASSERT_TRUE(blocking::get(*c, "/e", soon(), [&] { ++watched; }));
  const SessionId session = c->session_id();
  proxy.set_refusing(true);
  ASSERT_TRUE(eventually([&] {
    const auto e = blocking::get(*witness, "/e", soon());
    return !e && e.error().code == Errc::no_node;
  }));
  // Away is not expired: that is learned from the server only.
  EXPECT_EQ(expired_, 0);
  EXPECT_EQ(watched, 0);
  proxy.set_refusing(false);
  ASSERT_TRUE(eventually([&] { return expired_ > 0 && c->connected(); }))
      << "expired " << expired_ << ", connected " << c->connected() << ", disconnected "
      << disconnected_;
  EXPECT_TRUE(eventually([&] { return watched == 1; }));
  EXPECT_NE(c->session_id(), session);
  auto again = blocking::create(*c, "/e", "", CreateMode::ephemeral, soon());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->ephemeral_owner, c->session_id());
}

TEST_F(RealZooKeeperFaults, APausedServerGivesDeadlinesThenGoesOn) {
  auto server = ZooKeeperServer::start();
  ASSERT_NE(server, nullptr);
  auto c = open(server->address(), 2s);
  ASSERT_NE(c, nullptr);
  ASSERT_TRUE(blocking::create(*c, "/a", "0", CreateMode::persistent, soon()));
  server->pause();
  // Sent, and no answer: whether it will be done is not known.
  EXPECT_EQ(code_of(blocking::set(*c, "/a", "1", Expected::version(0), after(200ms))),
            Errc::deadline);
  EXPECT_EQ(code_of(blocking::get(*c, "/a", after(200ms))), Errc::deadline);
  // Once the silence is noticed, nothing is sent any more.
  ASSERT_TRUE(eventually([&] { return !c->connected(); }));
  EXPECT_EQ(code_of(blocking::set(*c, "/a", "2", Expected::any(), after(200ms))),
            Errc::unavailable);
  server->resume();
  ASSERT_TRUE(eventually([&] { return c->connected(); }));
  const auto read = blocking::get(*c, "/a", soon());
  ASSERT_TRUE(read);
  EXPECT_NE(read->data, "2");
  EXPECT_TRUE(blocking::set(*c, "/a", "3", read->stat, soon()));
}

TEST_F(RealZooKeeperFaults, ALostMajorityStopsWritesUntilItReturns) {
  auto ensemble = ZooKeeperEnsemble::start();
  ASSERT_NE(ensemble, nullptr);
  auto c = open(ensemble->addresses(), 8s);
  ASSERT_NE(c, nullptr);
  ASSERT_TRUE(blocking::create(*c, "/a", "0", CreateMode::persistent, soon()));
  ensemble->server(0).kill();
  // Two of three: it goes on, perhaps after a new connection and leader.
  ASSERT_TRUE(blocking::set(*c, "/a", "1", Expected::version(0), soon()));
  ensemble->server(1).kill();
  const auto refused = blocking::set(*c, "/a", "2", Expected::version(1), after(3s));
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().code == Errc::deadline || refused.error().code == Errc::unavailable);
  ASSERT_TRUE(ensemble->server(0).launch());
  ASSERT_TRUE(ensemble->server(1).launch());
  const auto read = blocking::get(*c, "/a", after(40s));
  ASSERT_TRUE(read) << read.error().message;
  // An unknown outcome may have become either; the version tells the truth.
  EXPECT_EQ(read->data, read->stat.version == 1 ? "1" : "2");
  EXPECT_TRUE(blocking::set(*c, "/a", "3", read->stat, after(40s)));
}

// Increments by compare-and-set, with connections cut under them after the request has
// reached the server: every answer must be true, and none may be missing.
TEST_F(RealZooKeeperFaults, AWriteWhoseAnswerIsCutOffIsSettled) {
  auto server = ZooKeeperServer::start();
  ASSERT_NE(server, nullptr);
  CuttingProxy proxy(server->port());
  auto c = open(proxy.address(), 8s);
  ASSERT_NE(c, nullptr);
  ASSERT_TRUE(blocking::create(*c, "/counter", "", CreateMode::persistent, soon()));
  std::mt19937 random(3);
  int ok = 0;
  constexpr int kWrites = 12;
  for (int i = 0; i < kWrites; ++i) {
    const auto before = blocking::get(*c, "/counter", soon());
    ASSERT_TRUE(before);
    if (i % 2 == 0) proxy.cut_after(1 + random() % 60);
    const auto set = blocking::set(*c, "/counter", std::to_string(i), before->stat, soon());
    ASSERT_TRUE(set) << i << ": " << set.error().message;
    EXPECT_EQ(set->version, before->stat.version + 1);
    ++ok;
    const auto made =
        blocking::create(*c, "/c" + std::to_string(i), "", CreateMode::persistent, soon());
    EXPECT_TRUE(made);
  }
  EXPECT_GE(proxy.cuts(), kWrites / 2);
  EXPECT_EQ(blocking::get(*c, "/counter", soon())->stat.version, ok);
  EXPECT_EQ(expired_, 0);
}

TEST_F(RealZooKeeperFaults, DigestCredentialsKeepOthersOut) {
  auto server = ZooKeeperServer::start();
  ASSERT_NE(server, nullptr);
  ZooKeeperOptions options;
  options.servers = server->address();
  options.prefix = "/mine";
  options.digest_credentials = "agent:secret";
  auto mine = ZooKeeperCoordinator::open(options);
  ASSERT_TRUE(mine);
  ASSERT_TRUE(blocking::create(**mine, "/a", "x", CreateMode::persistent, soon()));
  EXPECT_EQ(blocking::get(**mine, "/a", soon())->data, "x");
  options.digest_credentials = "";
  auto other = ZooKeeperCoordinator::open(options);
  ASSERT_TRUE(other);
  EXPECT_EQ(code_of(blocking::get(**other, "/a", soon())), Errc::auth_failed);
  EXPECT_EQ(code_of(blocking::create(**other, "/b", "", CreateMode::persistent, soon())),
            Errc::auth_failed);
}

}  // namespace
}  // namespace godwit::coord
