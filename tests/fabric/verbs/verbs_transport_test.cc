// The verbs transport over a real device: what the conformance suite does not ask of every
// transport. Skipped where there is no RDMA device (soft-RoCE does: docs/verbs.md).
#ifdef GODWIT_HAVE_VERBS

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fabric/own_resources.h"
#include "fabric/verbs/verbs_device.h"

namespace godwit::fabric::testing {
namespace {

using namespace std::chrono_literals;

/// Two engines; connect() makes a connection between them.
struct Two {
  explicit Two(VerbsOptions of_a = {}, VerbsOptions of_b = {})
      : factory_a(verbs_factory(of_a)),
        factory_b(verbs_factory(of_b)),
        a(factory_a),
        b(factory_b) {}

  bool connect() {
    a.established.clear();
    b.established.clear();
    auto dialed = a.transport().connect(b.address(), kDc);
    if (!dialed) {
      ADD_FAILURE() << dialed.error().to_string();
      return false;
    }
    return pump_until([&] { return !a.established.empty() && !b.established.empty(); }, a, b);
  }
  bool both_closed(std::chrono::milliseconds limit = 20s) {
    return pump_until([&] { return !a.closed.empty() && !b.closed.empty(); }, limit, a, b);
  }

  TransportFactory factory_a, factory_b;
  TestEngine a, b;
};

bool send_and_check(Two& two, TestEngine& from, TestEngine& to, Connection& connection,
                    std::uint32_t size, std::uint32_t tag) {
  FramePtr frame = from.make_frame(size, tag);
  if (!pump_until([&] { return connection.post(frame) == SendStatus::sent; }, two.a, two.b))
    return false;
  if (!pump_until([&] { return !to.received.empty(); }, two.a, two.b)) return false;
  const bool intact =
      to.received[0].payload.size() == size && TestEngine::has_pattern(to.received[0].payload, tag);
  to.received.clear();
  return intact;
}

TEST_F(VerbsDevice, PayloadsThatCannotBeRegisteredAtTheReceiverGoThroughThePool) {
  VerbsOptions tight;
  tight.locked_bytes = 1 << 20;
  Two two({}, tight);
  ASSERT_TRUE(two.connect());
  Connection& to_b = *two.a.established[0];
  for (const std::uint32_t size : {20'000u, 300'000u, 1u << 20, kMaxPayload})
    ASSERT_TRUE(send_and_check(two, two.a, two.b, to_b, size, size % 251)) << size;
  EXPECT_LE(transport_of(two.b).device().registry().bytes(), 1u << 20);
}

TEST_F(VerbsDevice, PayloadsThatCannotBeRegisteredAtTheSenderGoInPieces) {
  VerbsOptions tight;
  tight.locked_bytes = 1 << 20;
  Two two(tight, {});
  ASSERT_TRUE(two.connect());
  Connection& to_b = *two.a.established[0];
  for (const std::uint32_t size : {20'000u, 300'000u, 1u << 20, kMaxPayload})
    ASSERT_TRUE(send_and_check(two, two.a, two.b, to_b, size, size % 251)) << size;
}

TEST_F(VerbsDevice, MemoryOfProgramsIsFetchedInPlace) {
  Two two;
  ASSERT_TRUE(two.connect());
  constexpr std::uint32_t kSize = 200'001;
  std::vector<std::byte> source(kSize), target(kSize);
  TestEngine::fill(source, 9);
  two.b.on_place = [&](Connection&, const FrameHeader& header) {
    return Buffer::unowned(target.data(), header.length);
  };
  bool released = false;
  FramePtr frame = two.a.frames().allocate(0);
  frame->header.length = kSize;
  frame->large = Buffer(
      source.data(), kSize,
      [](void* context, std::uint64_t) noexcept { *static_cast<bool*>(context) = true; },
      &released);
  ASSERT_EQ(two.a.established[0]->post(frame), SendStatus::sent);
  ASSERT_TRUE(pump_until([&] { return two.b.received.size() == 1 && released; }, two.a, two.b));
  EXPECT_EQ(target, source);
  EXPECT_EQ(transport_of(two.a).device().registry().held(), 0u);
  EXPECT_EQ(transport_of(two.b).device().registry().held(), 0u);
}

TEST_F(VerbsDevice, AnIdleReceiverHoldsItsSenderWithinTheWindow) {
  VerbsOptions small;
  small.window = 8;
  Two two(small, small);
  ASSERT_TRUE(two.connect());
  std::uint32_t sent = 0;
  while (true) {
    FramePtr frame = two.a.make_frame(100, sent);
    if (two.a.established[0]->post(frame) != SendStatus::sent) break;
    ++sent;
    two.a.step();
  }
  EXPECT_GT(sent, 100u);  // most of them wait in the queue
  ASSERT_TRUE(pump_until([&] { return two.b.received.size() == sent; }, two.a, two.b));
  for (std::uint32_t i = 0; i < sent; ++i) ASSERT_EQ(two.b.received[i].header.upper[0], i);
}

TEST_F(VerbsDevice, MorePeersThanBuffersAreRefusedAndTheOthersWork) {
  VerbsOptions few;
  few.receive_buffers = 128;
  Two two({}, few);
  std::size_t ended = 0, dialed = 0;
  for (; dialed < 40; ++dialed) ASSERT_TRUE(two.a.transport().connect(two.b.address(), kDc));
  ASSERT_TRUE(pump_until(
      [&] {
        ended = two.a.established.size() + two.a.closed.size();
        return ended >= dialed;
      },
      two.a, two.b));
  EXPECT_GT(two.a.established.size(), 5u);
  EXPECT_GT(two.a.closed.size(), 5u);
  for (const auto& closed : two.a.closed) EXPECT_EQ(closed.reason.code, Errc::unreachable);
  for (Connection* connection : two.a.established)
    ASSERT_TRUE(send_and_check(two, two.a, two.b, *connection, 1000, 5));
}

TEST_F(VerbsDevice, QueuePairsThatFailEndTheirConnectionsAndOthersCanBeMade) {
  Two two;
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(two.connect());
    // Under load, with a payload being fetched.
    for (std::uint32_t i = 0; i < 20; ++i) {
      FramePtr frame = two.a.make_frame(i % 4 == 3 ? 1u << 20 : 500, i);
      if (two.a.established[0]->post(frame) != SendStatus::sent) break;
    }
    two.a.step();
    two.b.step();
    transport_of(round % 2 == 0 ? two.a : two.b).break_pairs();
    FramePtr frame = two.a.make_frame(100);
    (void)two.a.established[0]->post(frame);
    ASSERT_TRUE(two.both_closed());
    EXPECT_EQ(two.a.closed[0].reason.code, Errc::connection_lost);
    EXPECT_EQ(two.b.closed[0].reason.code, Errc::connection_lost);
    two.a.closed.clear();
    two.b.closed.clear();
    two.b.received.clear();
    ASSERT_TRUE(pump_until(
        [&] {
          return two.a.frames().outstanding() == (frame == nullptr ? 0u : 1u) &&
                 two.b.arena().in_use() == 0 && transport_of(two.a).links() == 0 &&
                 transport_of(two.b).links() == 0;
        },
        two.a, two.b));
  }
  ASSERT_TRUE(two.connect());
  ASSERT_TRUE(send_and_check(two, two.a, two.b, *two.a.established[0], 100'000, 3));
}

class HeavyVerbsDevice : public VerbsDevice {};

TEST_F(HeavyVerbsDevice, TwoThousandConnectionsComeAndGoWithoutATrace) {
  Two two;
  const auto once = [&](std::uint32_t round) {
    ASSERT_TRUE(two.connect());
    ASSERT_TRUE(send_and_check(two, two.a, two.b, *two.a.established[0], 100, round));
    if (round % 10 == 0) {
      ASSERT_TRUE(send_and_check(two, two.b, two.a, *two.b.established[0], 50'000, round));
    }
    (round % 2 == 0 ? two.a : two.b).established[0]->close({Errc::closed, "again", {}});
    ASSERT_TRUE(two.both_closed());
    two.a.closed.clear();
    two.b.closed.clear();
  };
  const auto quiet = [&] {
    return pump_until(
        [&] { return transport_of(two.a).links() == 0 && transport_of(two.b).links() == 0; }, two.a,
        two.b);
  };
  for (std::uint32_t i = 0; i < 20; ++i) ASSERT_NO_FATAL_FAILURE(once(i));
  ASSERT_TRUE(quiet());
  const std::string objects = kernel_objects();
  const std::size_t descriptors = open_descriptors();
  const std::size_t bytes = two.a.frames().bytes();
  for (std::uint32_t i = 0; i < 2000; ++i) ASSERT_NO_FATAL_FAILURE(once(i)) << "round " << i;
  ASSERT_TRUE(quiet());
  EXPECT_EQ(kernel_objects(), objects);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(two.a.frames().bytes(), bytes);
}

/// Takes a soft-RoCE device away and brings it back. Only where somebody allowed it, as the lab
/// does in its guests: GODWIT_REMOVABLE_RDMA=rxe0:eth0.
class RealVerbsRemoval : public VerbsDevice {
 protected:
  void SetUp() override {
    VerbsDevice::SetUp();
    if (IsSkipped()) return;
    const char* named = std::getenv("GODWIT_REMOVABLE_RDMA");
    if (named == nullptr) {
      GTEST_SKIP() << "GODWIT_REMOVABLE_RDMA=DEVICE:INTERFACE names no soft-RoCE device that may "
                      "be removed for a moment";
    }
    const std::string text = named;
    device = text.substr(0, text.find(':'));
    interface = text.substr(text.find(':') + 1);
  }
  void TearDown() override {
    if (!device.empty() && rdma_hosts().empty()) add();
    VerbsDevice::TearDown();
  }

  // In a process of its own: the kernel lets it wait until nobody uses the device any more.
  pid_t start_removal() {
    const pid_t child = fork();
    if (child == 0) {
      execlp("rdma", "rdma", "link", "delete", device.c_str(), nullptr);
      _exit(127);
    }
    return child;
  }
  void add() {
    const std::string command = "rdma link add " + device + " type rxe netdev " + interface;
    EXPECT_EQ(std::system(command.c_str()), 0);
  }

  std::string device, interface;
};

TEST_F(RealVerbsRemoval, ARemovedDeviceEndsItsConnectionsAndIsUsedAgainWhenItIsBack) {
  VerbsOptions options;
  options.revive_interval = 50ms;
  Two two(options, options);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(two.connect());
    for (std::uint32_t i = 0; i < 20; ++i) {
      FramePtr frame = two.a.make_frame(i % 4 == 3 ? 200'000 : 500, i);
      if (two.a.established[0]->post(frame) != SendStatus::sent) break;
    }
    const pid_t removal = start_removal();
    ASSERT_TRUE(two.both_closed());
    EXPECT_EQ(two.a.closed[0].reason.code, Errc::connection_lost);
    ASSERT_TRUE(pump_until(
        [&] {
          return !transport_of(two.a).has_device() && !transport_of(two.b).has_device() &&
                 waitpid(removal, nullptr, WNOHANG) == removal;
        },
        two.a, two.b))
        << "the removal waits for somebody";
    EXPECT_FALSE(two.a.transport().can_reach(two.b.address()));
    EXPECT_FALSE(two.a.transport().connect(two.b.address(), kDc).has_value());
    EXPECT_LT(two.a.transport().next_deadline(), std::chrono::steady_clock::time_point::max());
    two.a.closed.clear();
    two.b.closed.clear();
    two.b.received.clear();

    add();
    ASSERT_TRUE(pump_until(
        [&] { return transport_of(two.a).has_device() && transport_of(two.b).has_device(); }, two.a,
        two.b));
    EXPECT_TRUE(two.a.transport().can_reach(two.b.address()));
    ASSERT_TRUE(two.connect());  // at the address of before
    ASSERT_TRUE(send_and_check(two, two.a, two.b, *two.a.established[0], 100'000, 3));
    two.a.established[0]->close({Errc::closed, "done", {}});
    ASSERT_TRUE(two.both_closed());
    two.a.closed.clear();
    two.b.closed.clear();
  }
}

}  // namespace
}  // namespace godwit::fabric::testing

#endif
