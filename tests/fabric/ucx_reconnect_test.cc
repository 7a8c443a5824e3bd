// Connections of the ucx transport that come and go: many times, from either side, with clients and
// servers that are made anew. Over RDMA each must be as quick as the first.
#include <gtest/gtest.h>

#ifdef GODWIT_HAVE_UCX

#include <algorithm>
#include <cstdio>
#include <optional>

#include "fabric/own_resources.h"
#include "ucx_engine.h"

namespace godwit::fabric::ucx {
namespace {

using namespace std::chrono_literals;
using testing::kernel_objects;
using testing::open_descriptors;
using Clock = std::chrono::steady_clock;

class UcxReconnects : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string why = unavailable(GetParam()); !why.empty()) GTEST_SKIP() << why;
  }
  void TearDown() override {
    RecordProperty("slowest_us", static_cast<int>(slowest / 1us));
    if (slowest > 0s) std::printf("slowest connect: %.1f ms\n", double(slowest / 1us) / 1000);
  }

  /// Joins two engines, sends a frame of each size there and back. Null if any of it fails.
  Connection* meet(UcxEngine& from, UcxEngine& to, std::initializer_list<std::uint32_t> sizes) {
    from.closed.clear();
    to.closed.clear();
    const auto start = Clock::now();
    auto dialed = from.transport->connect(to.address, UcxEngine::kDc);
    if (!dialed) return nullptr;
    const bool joined = run_until({&from, &to}, [&] {
      return ((*dialed)->established() && to.live.size() == 1) || !from.closed.empty();
    });
    slowest = std::max(slowest, Clock::now() - start);
    if (!joined || !from.closed.empty()) {
      ADD_FAILURE() << (joined ? from.closed[0].to_string() : "no connection");
      return nullptr;
    }
    for (const std::uint32_t size : sizes) {
      for (auto [sender, connection, receiver] :
           {std::tuple(&from, *dialed, &to), {&to, to.live[0], &from}}) {
        const std::size_t expected = receiver->received + 1;
        FramePtr frame = sender->frame(size, 1);
        if (connection->post(frame) != SendStatus::sent) return nullptr;
        if (!run_until({&from, &to}, [&, at = receiver] { return at->received == expected; }))
          return nullptr;
      }
    }
    return *dialed;
  }

  static bool part(UcxEngine& a, UcxEngine& b, Connection& connection) {
    connection.close({Errc::closed, "test", {}});
    return run_until({&a, &b}, [&] { return a.live.empty() && b.live.empty(); });
  }

  Clock::duration slowest{};
};

TEST_P(UcxReconnects, EitherSideDialsAndEitherSideCloses) {
  UcxEngine a(GetParam()), b(GetParam());
  std::size_t descriptors = 0;
  std::string objects;
  const auto quiet = [&] {
    return run_until({&a, &b}, [&] { return a.clean() && b.clean(); }) &&
           run_until({&a, &b}, [&] { return open_descriptors() <= descriptors; });
  };
  for (int round = 0; round < 400; ++round) {
    UcxEngine& dialer = round % 2 == 0 ? a : b;
    UcxEngine& acceptor = round % 2 == 0 ? b : a;
    Connection* connection =
        round % 20 == 0 ? meet(dialer, acceptor, {64, 300'000}) : meet(dialer, acceptor, {64});
    ASSERT_NE(connection, nullptr) << "round " << round;
    ASSERT_TRUE(part(a, b, round % 4 < 2 ? *connection : *acceptor.live[0])) << "round " << round;
    if (round == 19) {
      descriptors = open_descriptors();
      ASSERT_TRUE(quiet());
    }
  }
  EXPECT_TRUE(quiet()) << descriptors << " descriptors grew to " << open_descriptors();
  EXPECT_LT(slowest, 2s);
}

TEST_P(UcxReconnects, OneClientRightAfterAnother) {
  UcxEngine server(GetParam());
  for (int round = 0; round < 6; ++round) {
    {
      UcxEngine client(GetParam());
      ASSERT_NE(meet(client, server, {64, 100'000}), nullptr) << "round " << round;
    }                              // it goes without a word of ours
    if (round % 2 == 0) continue;  // the next one may come before the server knows
    ASSERT_TRUE(run_until({&server}, [&] { return server.live.empty(); }));
  }
  EXPECT_LT(slowest, 2s);
}

TEST_P(UcxReconnects, ServersThatAreMadeAnew) {
  UcxEngine client(GetParam());
  std::size_t bound_again = 0;
  std::vector<std::uint16_t> ports;
  for (int round = 0; round < 6; ++round) {
    auto server = std::make_unique<UcxEngine>(GetParam());
    const std::uint16_t port = server->address.ucx.front().port;
    bound_again += std::count(ports.begin(), ports.end(), port) != 0 ? 1 : 0;
    ports.push_back(port);
    ASSERT_NE(meet(client, *server, {64, 100'000}), nullptr) << "round " << round;
    const auto ended = Clock::now();
    server.reset();
    ASSERT_TRUE(run_until({&client}, [&] { return client.live.empty(); }));
    EXPECT_LT(Clock::now() - ended, 2s);
    ASSERT_EQ(client.closed.size(), 1u);
    EXPECT_EQ(client.closed[0].code, Errc::connection_lost) << client.closed[0].to_string();
  }
  RecordProperty("ports_bound_again", static_cast<int>(bound_again));
  std::printf("ports that were bound again: %zu\n", bound_again);
  EXPECT_LT(slowest, 2s);
}

/// How many of one kind of object the kernel holds: "qp".
std::size_t count_of(const std::string& objects, const std::string& kind) {
  const std::size_t at = objects.find(" " + kind + " ");
  return at == std::string::npos ? 0 : std::stoul(objects.substr(at + kind.size() + 2));
}

// UCX keeps the queue pair of a closed connection until the device tells that it is drained, which
// soft-RoCE of Linux 6.1 never does (docs/ucx.md). So a pair may stay, but nothing else, and that
// only as long as the engine.
TEST(UcxReconnectsOverRdma, LeaveNothingInTheKernelBehindTheirEngines) {
  if (const std::string why = unavailable(kRdma); !why.empty()) GTEST_SKIP() << why;
  constexpr std::size_t kRounds = 50;
  constexpr const char* kKinds[] = {"cm_id", "cq", "srq", "mr", "pd"};
  const std::string before = kernel_objects();
  ASSERT_FALSE(before.empty()) << "install iproute2: its rdma shows what the kernel holds";
  {
    UcxEngine a(kRdma), b(kRdma);
    std::string first;
    for (std::size_t round = 0; round <= kRounds; ++round) {
      auto dialed = a.transport->connect(b.address, UcxEngine::kDc);
      ASSERT_TRUE(dialed);
      ASSERT_TRUE(run_until({&a, &b}, [&] { return (*dialed)->established(); }));
      (*dialed)->close({Errc::closed, "test", {}});
      ASSERT_TRUE(run_until({&a, &b}, [&] { return a.live.empty() && b.live.empty(); }));
      if (round != 0) continue;
      ASSERT_TRUE(run_until({&a, &b}, [&] { return a.parted() && b.parted(); }));
      first = kernel_objects();
    }
    // Endpoints that were closed by force end one by one.
    std::string last;
    EXPECT_TRUE(run_until({&a, &b},
                          [&] {
                            last = kernel_objects();
                            return std::all_of(
                                std::begin(kKinds), std::end(kKinds), [&](const char* kind) {
                                  return count_of(last, kind) <= count_of(first, kind);
                                });
                          }))
        << first << last;
    EXPECT_LE(count_of(last, "qp"), count_of(first, "qp") + 2 * kRounds) << last;
  }
  // But for the context that librdmacm opens once for the process.
  const std::string after = kernel_objects();
  EXPECT_EQ(count_of(after, "qp"), count_of(before, "qp")) << after;
  for (const char* kind : kKinds) EXPECT_EQ(count_of(after, kind), count_of(before, kind)) << after;
}

INSTANTIATE_TEST_SUITE_P(Over, UcxReconnects, ::testing::Values("tcp", kRdma),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace godwit::fabric::ucx

#endif
