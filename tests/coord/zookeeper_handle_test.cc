// ZooKeeperHandle: what its coordinator relies on.
#include "zookeeper_handle.h"

#include "coord/backend.h"
#include "support/zookeeper_server.h"

#include <gtest/gtest.h>

#include <atomic>

namespace godwit::coord {
namespace {

using namespace std::chrono_literals;

// Closed with many requests of each kind under way, at different moments of their work.
TEST(RealZooKeeperHandle, EveryRequestIsAnsweredOnceByTheCloseAtTheLatest) {
  using test_support::ZooKeeperServer;
  if (auto reason = ZooKeeperServer::unavailable()) GTEST_SKIP() << *reason;
  auto server = ZooKeeperServer::start();
  ASSERT_NE(server, nullptr);
  for (int round = 0; round < 20; ++round) {
    constexpr int kEach = 200;
    std::vector<std::atomic<int>> answers(5 * kEach);
    std::atomic<bool> connected{false};
    ZooKeeperHandle::Events events;
    events.session = [&](ZooKeeperHandle::State state, SessionId) {
      if (state == ZooKeeperHandle::State::connected) connected = true;
    };
    events.watch = [](std::uint64_t) {};
    auto handle = ZooKeeperHandle::open({server->address(), 8s, ""}, std::move(events));
    ASSERT_TRUE(handle.has_value());
    ASSERT_TRUE(eventually([&] { return connected.load(); }));

    int accepted = 0;
    const auto count = [&](bool taken) { accepted += taken ? 1 : 0; };
    for (int i = 0; i < kEach; ++i) {
      std::atomic<int>* const mine = &answers[static_cast<std::size_t>(5 * i)];
      const std::string path = "/r" + std::to_string(round) + "-" + std::to_string(i);
      count((*handle)->write("", {CreateOp{path, ""}},
                             [mine](int, int, const std::vector<std::int32_t>&) { ++mine[0]; }));
      count((*handle)->get(path, 0, [mine](int, const Record&) { ++mine[1]; }));
      count((*handle)->list("/", 0, [mine](int, const Children&) { ++mine[2]; }));
      count((*handle)->exists(path, 0, [mine](int) { ++mine[3]; }));
      count((*handle)->sync("/", [mine](int) { ++mine[4]; }));
    }
    if (round % 2 == 1) {
      ASSERT_TRUE(eventually([&] { return answers[0] == 1; }));
    }
    handle->reset();
    EXPECT_EQ(accepted, 5 * kEach);
    for (const auto& answered : answers) ASSERT_EQ(answered, 1) << "round " << round;
  }
}

}  // namespace
}  // namespace godwit::coord
