// What the device lets a peer do to exposed memory, and what not: requests that no honest engine
// makes, memory that is taken back in the middle of a copy, and room that runs out. Skipped where
// there is no RDMA device (soft-RoCE does: docs/verbs.md).
#ifdef GODWIT_HAVE_VERBS

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "fabric/verbs/verbs_device.h"

namespace godwit::fabric::testing {
namespace {

using namespace std::chrono_literals;
using verbs::Registry;
using verbs::VerbsTransport;

class VerbsDeviceOneSided : public VerbsDevice {};

/// b owns `memory`; a copies. connect() makes a new connection.
struct Two {
  explicit Two(VerbsOptions of_a = {}, VerbsOptions of_b = {})
      : factory_a(verbs_factory(of_a)),
        factory_b(verbs_factory(of_b)),
        a(factory_a),
        b(factory_b),
        memory(8 << 20) {
    TestEngine::fill(memory, 3);
    before = memory;
  }

  bool connect() {
    for (TestEngine* engine : {&a, &b}) {
      engine->established.clear();
      engine->closed.clear();
    }
    if (!a.transport().connect(b.address(), kDc)) return false;
    return pump_until([&] { return !a.established.empty() && !b.established.empty(); }, a, b);
  }
  Connection& to_b() { return *a.established[0]; }
  Connection& to_a() { return *b.established[0]; }
  std::unique_ptr<Exposure> expose(std::size_t offset, std::size_t size, Access access) {
    auto made = to_a().expose(std::span(memory).subspan(offset, size), access);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    return made ? std::move(*made) : nullptr;
  }
  bool ends(OneSidedCopy& copy) {
    return pump_until([&] { return !copy.under_way(); }, a, b);
  }
  Registry& registry_of(TestEngine& engine) {
    return static_cast<VerbsTransport&>(engine.transport()).device().registry();
  }

  TransportFactory factory_a, factory_b;
  TestEngine a, b;
  std::vector<std::byte> memory, before;
};

OneSidedCopy copy_of(RemoteMemory where, std::span<std::byte> local, Access access) {
  OneSidedCopy copy;
  copy.remote = where;
  copy.local = local;
  copy.access = access;
  return copy;
}

TEST_F(VerbsDeviceOneSided, WhatIsNotExposedIsRefusedByTheMemoryRegion) {
  constexpr std::size_t kAt = 100'003, kSize = 50'001;
  struct Bad {
    const char* what;
    Access exposed, asked;
    std::int64_t shift;
    std::uint32_t key;  // added
    bool closed;
  };
  const Bad all[] = {
      {"a byte before", Access::write, Access::write, -1, 0, false},
      {"a byte behind", Access::write, Access::write, 1, 0, false},
      {"far away", Access::write, Access::write, 1 << 20, 0, false},
      {"reading a byte before", Access::read, Access::read, -1, 0, false},
      {"reading a byte behind", Access::read, Access::read, 1, 0, false},
      {"writing what may be read", Access::read, Access::write, 0, 0, false},
      {"reading what may be written", Access::write, Access::read, 0, 0, false},
      {"another key", Access::write, Access::write, 0, 1, false},
      {"too late to write", Access::write, Access::write, 0, 0, true},
      {"too late to read", Access::read, Access::read, 0, 0, true},
  };
  Two two;
  for (const Bad& bad : all) {
    ASSERT_TRUE(two.connect()) << bad.what;
    auto open = two.expose(kAt, kSize, bad.exposed);
    ASSERT_NE(open, nullptr);
    ASSERT_EQ(open->size(), kSize);
    RemoteMemory where = open->where();
    where.address += static_cast<std::uint64_t>(bad.shift);
    where.key += bad.key;
    if (bad.closed) {
      EXPECT_TRUE(open->close());
    }
    std::vector<std::byte> local(kSize, std::byte{0xee});
    OneSidedCopy copy = copy_of(where, local, bad.asked);
    two.to_b().start(copy);
    ASSERT_TRUE(two.ends(copy)) << bad.what;
    ASSERT_TRUE(copy.error.has_value()) << bad.what;
    EXPECT_EQ(copy.error->code, Errc::connection_lost) << bad.what;
    EXPECT_EQ(copy.completed, 0u) << bad.what;
    ASSERT_TRUE(
        pump_until([&] { return !two.a.closed.empty() && !two.b.closed.empty(); }, two.a, two.b))
        << bad.what;
    EXPECT_EQ(two.memory, two.before) << bad.what;
    if (bad.asked == Access::read) {
      EXPECT_EQ(std::count(local.begin(), local.end(), std::byte{0xee}), kSize) << bad.what;
    }
  }
  EXPECT_EQ(two.registry_of(two.b).exposed(), 0u);
}

TEST_F(VerbsDeviceOneSided, NothingLandsAfterMemoryIsTakenBackInTheMiddleOfACopy) {
  Two two;
  for (int round = 0; round < 6; ++round) {
    ASSERT_TRUE(two.connect());
    auto open = two.expose(0, two.memory.size(), Access::write);
    ASSERT_NE(open, nullptr);
    std::vector<std::byte> local(open->size());
    TestEngine::fill(local, 10 + static_cast<std::uint32_t>(round));
    OneSidedCopy copy = copy_of(open->where(), local, Access::write);
    two.to_b().start(copy);
    // Some of it has arrived and some is on its way.
    const auto some = static_cast<std::uint64_t>(round) * (256 << 10);
    ASSERT_TRUE(pump_until([&] { return copy.completed >= some; }, two.a, two.b));
    ASSERT_TRUE(copy.under_way());
    ASSERT_TRUE(open->close());
    const std::vector<std::byte> after = two.memory;
    ASSERT_TRUE(two.ends(copy));
    ASSERT_TRUE(
        pump_until([&] { return !two.a.closed.empty() && !two.b.closed.empty(); }, two.a, two.b));
    EXPECT_EQ(two.memory, after) << round;
    ASSERT_TRUE(copy.error.has_value());
    // What was told as certain is there.
    EXPECT_TRUE(std::equal(
        local.begin(), local.begin() + static_cast<std::ptrdiff_t>(copy.completed), after.begin()))
        << round;
  }
}

TEST_F(VerbsDeviceOneSided, NothingLandsAfterAQueuePairHasFailed) {
  Two two;
  for (const bool owners : {true, false}) {
    ASSERT_TRUE(two.connect());
    auto open = two.expose(0, two.memory.size(), Access::write);
    ASSERT_NE(open, nullptr);
    std::vector<std::byte> local(open->size());
    TestEngine::fill(local, owners ? 20 : 21);
    OneSidedCopy copy = copy_of(open->where(), local, Access::write);
    two.to_b().start(copy);
    ASSERT_TRUE(pump_until([&] { return copy.completed > 0; }, two.a, two.b));
    static_cast<VerbsTransport&>((owners ? two.b : two.a).transport()).break_pairs();
    ASSERT_TRUE(two.ends(copy));
    ASSERT_TRUE(copy.error.has_value());
    FramePtr frame = two.b.make_frame(100);  // so that the owner notices
    (void)two.to_a().post(frame);
    ASSERT_TRUE(
        pump_until([&] { return !two.a.closed.empty() && !two.b.closed.empty(); }, two.a, two.b));
    // The end of the connection has closed it.
    EXPECT_EQ(two.registry_of(two.b).exposed(), 0u);
    EXPECT_EQ(two.registry_of(two.a).held(), 0u);
    EXPECT_TRUE(std::equal(local.begin(),
                           local.begin() + static_cast<std::ptrdiff_t>(copy.completed),
                           two.memory.begin()));
  }
}

TEST_F(VerbsDeviceOneSided, ExposuresLeaveHalfOfTheRoomToMessages) {
  VerbsOptions tight;
  tight.locked_bytes = 6 << 20;
  Two two({}, tight);
  ASSERT_TRUE(two.connect());
  std::vector<std::unique_ptr<Exposure>> open;
  std::uint64_t size = 0;
  while (true) {
    auto made = two.to_a().expose(two.memory, Access::read);
    if (!made) {
      EXPECT_EQ(made.error().code, Errc::no_memory);
      break;
    }
    size += (*made)->size();
    open.push_back(std::move(*made));
    ASSERT_LT(open.size(), 100u);
  }
  EXPECT_GT(size, 500u << 10);
  EXPECT_EQ(two.registry_of(two.b).exposed(), size);
  EXPECT_LT(size, 2u << 20);
  // Messages go on, in both directions, and the copies, too.
  for (const std::uint32_t bytes : {100u, 20'000u, 1u << 20}) {
    FramePtr frame = two.a.make_frame(bytes, bytes);
    ASSERT_TRUE(
        pump_until([&] { return two.to_b().post(frame) == SendStatus::sent; }, two.a, two.b));
    ASSERT_TRUE(pump_until([&] { return !two.b.received.empty(); }, two.a, two.b));
    EXPECT_TRUE(TestEngine::has_pattern(two.b.received[0].payload, bytes));
    two.b.received.clear();
  }
  std::vector<std::byte> local(open[0]->size());
  OneSidedCopy copy = copy_of(open[0]->where(), local, Access::read);
  two.to_b().start(copy);
  ASSERT_TRUE(two.ends(copy));
  EXPECT_FALSE(copy.error);
  EXPECT_TRUE(std::equal(local.begin(), local.end(), two.memory.begin()));
  open.clear();
  EXPECT_EQ(two.registry_of(two.b).exposed(), 0u);
  EXPECT_NE(two.expose(0, 1 << 20, Access::write), nullptr);
}

TEST_F(VerbsDeviceOneSided, MemoryThatTheRequesterCannotRegisterGoesThroughThePool) {
  VerbsOptions tight;
  tight.locked_bytes = 1 << 20;
  Two two(tight, {});
  ASSERT_TRUE(two.connect());
  std::vector<std::byte> local(3'000'001);
  for (const Access access : {Access::read, Access::write}) {
    auto open = two.expose(5, local.size(), access);
    ASSERT_NE(open, nullptr);
    ASSERT_EQ(open->size(), local.size());
    if (access == Access::write) TestEngine::fill(local, 9);
    OneSidedCopy copy = copy_of(open->where(), local, access);
    two.to_b().start(copy);
    ASSERT_TRUE(two.ends(copy));
    ASSERT_FALSE(copy.error) << copy.error->to_string();
    EXPECT_TRUE(std::equal(local.begin(), local.end(), two.memory.begin() + 5));
  }
  EXPECT_EQ(two.memory[4], two.before[4]);
  EXPECT_EQ(two.memory[5 + local.size()], two.before[5 + local.size()]);
  EXPECT_LE(two.registry_of(two.a).bytes(), 1u << 20);
}

TEST_F(VerbsDeviceOneSided, TheDeathOfTheOwnerEndsACopy) {
  std::array<int, 2> told{};
  ASSERT_EQ(pipe(told.data()), 0);
  struct Told {
    RemoteMemory where;
    std::uint64_t size;
  };
  const pid_t child = fork();
  if (child == 0) {
    // An engine of its own, dialled by the parent; exposes memory and dies by a signal.
    TransportFactory factory = verbs_factory({});
    TestEngine owner(factory);
    const std::string address = owner.address().serialize();
    const std::uint32_t length = static_cast<std::uint32_t>(address.size());
    (void)!write(told[1], &length, sizeof length);
    (void)!write(told[1], address.data(), length);
    if (!pump_until([&] { return !owner.established.empty(); }, owner)) _exit(1);
    std::vector<std::byte> memory(8 << 20);
    auto open = owner.established[0]->expose(memory, Access::write);
    if (!open) _exit(2);
    const Told where{(*open)->where(), (*open)->size()};
    (void)!write(told[1], &where, sizeof where);
    (void)pump_until([] { return false; }, 60s, owner);
    _exit(3);
  }
  std::uint32_t length = 0;
  ASSERT_EQ(read(told[0], &length, sizeof length), ssize_t{sizeof length});
  std::string blob(length, '\0');
  ASSERT_EQ(read(told[0], blob.data(), length), static_cast<ssize_t>(length));
  auto address = EngineAddress::parse(blob);
  ASSERT_TRUE(address.has_value());
  TransportFactory factory = verbs_factory({});
  TestEngine a(factory);
  ASSERT_TRUE(a.transport().connect(*address, kDc).has_value());
  ASSERT_TRUE(pump_until([&] { return !a.established.empty(); }, a));
  Told where{};
  ASSERT_EQ(read(told[0], &where, sizeof where), ssize_t{sizeof where});
  std::vector<std::byte> local(where.size);
  OneSidedCopy copy = copy_of(where.where, local, Access::write);
  a.established[0]->start(copy);
  ASSERT_TRUE(pump_until([&] { return copy.completed > 0; }, a));
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  ASSERT_TRUE(pump_until([&] { return !copy.under_way(); }, a));
  ASSERT_TRUE(copy.error.has_value());
  EXPECT_EQ(copy.error->code, Errc::connection_lost);
  EXPECT_TRUE(pump_until([&] { return !a.closed.empty(); }, a));
  close(told[0]);
  close(told[1]);
}

}  // namespace
}  // namespace godwit::fabric::testing

#endif
