// Streamed copies that are cut while a frame is half-way into the memory, because its sender stands
// still: until the transport has let go of it the memory is in use, and afterwards nothing lands.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <future>
#include <thread>

#include "endpoints/one_process.h"
#include "endpoints/own_counters.h"
#include "godwit/relocation.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kFrame = 256 * 1024;  // bytes per streamed frame
constexpr auto kSent = std::byte{0x77};
constexpr auto kOwn = std::byte{0x5a};

/// More bytes than two sockets take between them, so that a sender gets stuck.
std::size_t beyond_sockets() {
  std::size_t sum = 16 << 20;
  for (const char* name : {"/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_wmem"}) {
    std::ifstream limits(name);
    std::size_t least = 0, usual = 0, most = 0;
    limits >> least >> usual >> most;
    sum += most;
  }
  return sum;
}
const std::size_t kSize = beyond_sockets();

class CutStreams : public ::testing::Test, protected OneProcess {
 protected:
  void SetUp() override {
    ProcessOptions options;
    options.force_transport = fabric::TransportKind::tcp;
    start_process(options, std::make_unique<ForwardingResolver>(directory_));
  }
  void TearDown() override { stop_process(); }

  /// The front of `memory` that has arrived.
  static std::size_t arrived(std::span<const std::byte> memory) {
    const auto end =
        std::find_if(memory.begin(), memory.end(), [](std::byte each) { return each != kSent; });
    return static_cast<std::size_t>(end - memory.begin());
  }

  std::uint64_t streamed() {
    return own_counter(
        directory_->runtime_directory(),
        [](const EngineCounters& engine) -> const Counter& { return engine.bytes_copied; });
  }
  void progress_until_streaming() {
    while (streamed() == 0) process_->progress();
  }
  /// Sends to a peer that reads nothing, until the sockets are full: then a frame is half-way.
  void progress_until_stuck() {
    std::uint64_t before = 0;
    auto since = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - since < 50ms) {
      process_->progress();
      if (std::exchange(before, streamed()) != streamed()) since = std::chrono::steady_clock::now();
    }
  }

  /// Takes what has been sent by a peer that sends nothing more.
  void drain(std::span<const std::byte> memory) {
    std::size_t before;
    do {
      before = arrived(memory);
      (void)process_->run_until([] { return false; }, 50ms);
    } while (arrived(memory) != before);
    ASSERT_NE(before % kFrame, 0u) << "no frame is half-way";
    ASSERT_LT(before, memory.size());
  }

  /// The memory is its owner's again: nothing lands in it when the sender goes on.
  void expect_quiet(std::span<std::byte> memory) {
    std::fill(memory.begin(), memory.end(), kOwn);
    release();
    (void)process_->run_until([] { return false; }, 100ms);
    EXPECT_EQ(std::count(memory.begin(), memory.end(), kOwn),
              static_cast<std::ptrdiff_t>(memory.size()));
  }

  void release() {
    released_ = true;
    released_.notify_all();
  }

  struct Owner {
    Endpoint endpoint;
    GrantRef ref;
    std::span<std::byte> memory;
    EndpointId source;
  };
  /// Streams from an endpoint that stands still in the middle; then the owner of the memory that is
  /// streamed into does `then`.
  void stream(const std::function<void(Owner& owner)>& then) {
    std::vector<std::byte> from(kSize, kSent), to(kSize);
    std::promise<GrantRef> source_ref, target_ref;
    std::atomic<bool> held{false}, over{false};
    std::stop_source enough;
    std::jthread source([&] {
      auto endpoint = process_->bind("demo/source");
      ASSERT_TRUE(endpoint);
      source_ref.set_value(*endpoint->grant(std::span<const std::byte>(from)));
      progress_until_streaming();
      progress_until_stuck();
      held = true;
      held.notify_all();
      released_.wait(false);
      ASSERT_TRUE(reaches([&] { return over.load(); }));
    });
    auto source_of = source_ref.get_future();
    const GrantRef source_grant = source_of.get();
    std::jthread target([&] {
      auto endpoint = process_->bind("demo/target");
      ASSERT_TRUE(endpoint);
      Owner owner{std::move(*endpoint), {}, to, source_grant.owner};
      owner.ref = *owner.endpoint.grant(std::span(to), {Rights::write, {}});
      target_ref.set_value(owner.ref);
      progress_until_streaming();
      held.wait(false);
      drain(to);
      if (!HasFatalFailure()) then(owner);
      release();
      enough.request_stop();
      ASSERT_TRUE(reaches([&] { return over.load(); }));
    });
    (void)me_.copy_between(source_grant, 0, target_ref.get_future().get(), 0, kSize,
                           Wait(kLong, enough.get_token()));
    over = true;
  }

  std::atomic<bool> released_{false};
};

TEST_F(CutStreams, NothingLandsOnceRevokeHasReturned) {
  stream([&](Owner& owner) {
    const auto revoked = owner.endpoint.revoke(owner.ref, 0ms);
    ASSERT_FALSE(revoked) << "a frame is half-way";
    EXPECT_EQ(revoked.error().code, Errc::deadline_exceeded);
    ASSERT_TRUE(owner.endpoint.revoke(owner.ref, kLong));
    expect_quiet(owner.memory);
  });
}

TEST_F(CutStreams, NothingLandsOnceThePeerHasMoved) {
  stream([&](Owner& owner) {
    directory_->moved(owner.source, 2, *Relocation::engine_address(*process_));
    (void)process_->run_until([] { return false; }, 20ms);
    const auto revoked = owner.endpoint.revoke(owner.ref, 0ms);
    ASSERT_FALSE(revoked) << "a frame is half-way";
    ASSERT_TRUE(owner.endpoint.revoke(owner.ref, kLong));
    expect_quiet(owner.memory);
  });
}

TEST_F(CutStreams, NothingLandsOnceTheOwnerHasParked) {
  stream([&](Owner& owner) {
    Relocation::shut(owner.endpoint);
    EXPECT_EQ(Relocation::busy(owner.endpoint), "1 copies of granted memory under way");
    ASSERT_TRUE(reaches([&] { return Relocation::busy(owner.endpoint).empty(); }));
    (void)Relocation::park(owner.endpoint);
    expect_quiet(owner.memory);
    const std::uint32_t epoch = Relocation::epoch(owner.endpoint) + 1;
    directory_->moved(owner.endpoint.id(), epoch, *Relocation::engine_address(*process_));
    Relocation::open(owner.endpoint, epoch);
  });
}

}  // namespace
}  // namespace godwit
