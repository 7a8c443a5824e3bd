// Copies against grants while the memory is taken away from them: revoked, unbound, moved, cut off.
// Over verbs where the machine has an RDMA device; elsewhere that is skipped.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "endpoints/one_process.h"
#include "endpoints/own_counters.h"
#include "godwit/fabric/rdma_hosts.h"
#include "godwit/relocation.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
using fabric::TransportKind;

/// Engines listen where the machine has an RDMA device.
class HostedResolver final : public ForwardingResolver {
 public:
  HostedResolver(std::shared_ptr<EmbeddedDirectory> inner, std::string host)
      : ForwardingResolver(std::move(inner)), host_(std::move(host)) {}
  std::string listen_host() const override { return host_; }

 private:
  std::string host_;
};

class Grants : public ::testing::TestWithParam<TransportKind>, protected OneProcess {
 protected:
  void SetUp() override {
    ProcessOptions options;
    options.force_transport = GetParam();
    options.return_pace = {10ms, 100ms};
    std::string host = "127.0.0.1";
    if (GetParam() == TransportKind::verbs) {
      const auto hosts = fabric::rdma_hosts();
      if (hosts.empty()) GTEST_SKIP() << "this machine has no RDMA device";
      host = hosts.front();
    }
    start_process(options, std::make_unique<HostedResolver>(directory_, host));
  }
  void TearDown() override { stop_process(); }

  /// By words: the sanitizers look at each store.
  static void fill(std::span<std::byte> memory, std::uint64_t seed) {
    for (std::size_t at = 0; at < memory.size(); at += sizeof(std::uint64_t)) {
      const std::uint64_t word = (at + 1) * 0x9E3779B97F4A7C15u + seed * 0x0101010101010101u;
      std::memcpy(&memory[at], &word, std::min(sizeof word, memory.size() - at));
    }
  }

  void park_beside_one_that_stands_still(bool connection_breaks);

  bool is_one_sided() const { return GetParam() != TransportKind::tcp; }
  std::uint64_t counted(Counter EngineCounters::PerTransport::*counter) {
    (void)process_->run_until([] { return false; }, 20ms);  // it sleeps, and writes them down
    return own_counter(directory_->runtime_directory(), GetParam(), counter);
  }
};

TEST_P(Grants, CopiesAreOneSidedWhereTheTransportIs) {
  std::vector<std::byte> memory(18 << 20);  // more than one lease
  fill(memory, 1);
  auto expected = memory;
  std::promise<GrantRef> granted;
  std::jthread server([&](std::stop_token stop) {
    auto owner = process_->bind("demo/owner");
    ASSERT_TRUE(owner);
    granted.set_value(*owner->grant(std::span(memory), {Rights::read_write, {}}));
    (void)owner->receive(stop);
  });
  const GrantRef ref = granted.get_future().get();
  std::vector<std::byte> local(memory.size());
  std::uint64_t large = 0;
  for (const std::size_t size : {1ul, 5'000ul, 100'000ul, 17ul << 20}) {
    const std::size_t offset = std::min(size / 7, memory.size() - size);
    const auto part = std::span(local).first(size);
    auto copied = me_.copy_from(ref, offset, part, kLong);
    ASSERT_TRUE(copied) << copied.error().to_string();
    ASSERT_TRUE(std::equal(part.begin(), part.end(), expected.begin() + offset)) << size;
    fill(part, size);
    copied = me_.copy_to(ref, offset, part, kLong);
    ASSERT_TRUE(copied) << copied.error().to_string();
    std::copy(part.begin(), part.end(), expected.begin() + offset);
    if (size >= 100'000) large += size;
  }
  std::vector<std::byte> whole(memory.size());
  ASSERT_TRUE(me_.copy_from(ref, 0, whole, kLong));
  EXPECT_TRUE(whole == expected);
  using PerTransport = EngineCounters::PerTransport;
  const std::uint64_t written = counted(&PerTransport::bytes_written);
  const std::uint64_t fetched = counted(&PerTransport::bytes_fetched);
  if (is_one_sided()) {
    EXPECT_GE(written, large);
    EXPECT_GE(fetched, large + whole.size());
  } else {
    EXPECT_EQ(written + fetched, 0u);
  }
  server.request_stop();
}

// Writes until it is told that the grant is gone.
TEST_P(Grants, NothingLandsOnceRevokeHasReturned) {
  constexpr int kRounds = 8;
  std::mutex mutex;
  std::condition_variable_any changed;
  std::optional<GrantRef> offered;
  std::atomic<bool> over{false};
  std::jthread owner_thread([&] {
    auto owner = process_->bind("demo/owner");
    ASSERT_TRUE(owner);
    std::vector<std::byte> memory(12 << 20);
    for (int round = 0; round < kRounds; ++round) {
      std::fill(memory.begin(), memory.end(), std::byte{0});
      auto ref = owner->grant(std::span(memory), {Rights::read_write, {}});
      ASSERT_TRUE(ref);
      {
        const std::lock_guard lock(mutex);
        offered = *ref;
      }
      changed.notify_all();
      const volatile std::byte& first = memory[0];
      ASSERT_TRUE(reaches([&] { return first != std::byte{0}; }));
      // A deadline that may be over before the copy is: then it is cut.
      while (!owner->revoke(*ref, std::chrono::milliseconds(round % 3))) {
      }
      std::fill(memory.begin(), memory.end(), std::byte{0x5a});
      (void)process_->run_until([] { return false; }, 30ms);
      EXPECT_EQ(std::count(memory.begin(), memory.end(), std::byte{0x5a}),
                static_cast<std::ptrdiff_t>(memory.size()))
          << "round " << round;
    }
    over = true;
    changed.notify_all();
    (void)reaches([&] { return over.load(); });
  });
  std::vector<std::byte> local(12 << 20, std::byte{0x77});
  std::uint64_t last = 0;
  int refused = 0;
  while (!over) {
    GrantRef ref;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return over || (offered && offered->key != last); });
      if (over) break;
      ref = *offered;
    }
    while (true) {
      auto copied = me_.copy_to(ref, 0, local, kLong);
      if (copied) continue;
      EXPECT_EQ(copied.error().code, Errc::not_found) << copied.error().to_string();
      ++refused;
      break;
    }
    last = ref.key;
  }
  EXPECT_GE(refused, kRounds - 1);
}

// The other end: what a copy reads into is its caller's again when the call is over, whatever the
// owner sends yet.
TEST_P(Grants, NothingLandsOnceACopyWasGivenUp) {
  constexpr int kRounds = 12;
  std::vector<std::byte> memory(12 << 20, std::byte{0x77});
  std::promise<GrantRef> granted;
  std::jthread server([&](std::stop_token stop) {
    auto owner = process_->bind("demo/owner");
    ASSERT_TRUE(owner);
    granted.set_value(*owner->grant(std::span(memory), {Rights::read, {}}));
    (void)owner->receive(stop);
  });
  const GrantRef ref = granted.get_future().get();
  std::vector<std::byte> local(memory.size());
  ASSERT_TRUE(me_.copy_from(ref, 0, std::span(local).first(1), kLong));
  int given_up = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto copied = me_.copy_from(ref, 0, local, std::chrono::microseconds(300 * round));
    if (copied) continue;
    EXPECT_EQ(copied.error().code, Errc::deadline_exceeded) << copied.error().to_string();
    ++given_up;
    std::fill(local.begin(), local.end(), std::byte{0x5a});
    (void)process_->run_until([] { return false; }, 30ms);
    EXPECT_EQ(std::count(local.begin(), local.end(), std::byte{0x5a}),
              static_cast<std::ptrdiff_t>(local.size()))
        << "round " << round;
  }
  // Over shm a copy may be over before the clock is looked at.
  if (GetParam() != TransportKind::shm) {
    EXPECT_GT(given_up, 0);
  }
  ASSERT_TRUE(me_.copy_from(ref, 0, local, kLong));
  EXPECT_TRUE(local == memory);
  const auto lost = own_counter(
      directory_->runtime_directory(),
      [](const EngineCounters& engine) -> const Counter& { return engine.disconnects; });
  EXPECT_EQ(lost, 0u) << "others use the connection, too";
  server.request_stop();
}

// The owner moves in the middle of copies, while connections are cut. What a copy has written
// before it was taken for done is in the state that moves, and nothing lands in what was left
// behind.
TEST_P(Grants, CopiesGoOnWhileTheirOwnerMovesAbout) {
  constexpr int kMoves = 12;
  // The first places wait for all others, and in an emulated guest a device takes seconds to open.
  constexpr auto kAllMoves = 240s;
  constexpr std::size_t kSize = 2 << 20;
  std::promise<GrantRef> granted;
  std::atomic<std::uint64_t> copies{0};
  std::atomic<bool> over{false};
  struct State {
    std::string image;
    std::vector<std::byte> memory;
  };
  GrantRef ref;
  const auto serve = [&](int place, std::promise<State>* from, std::promise<State>& to) {
    std::optional<Endpoint> owner;
    std::vector<std::byte> memory(kSize);
    if (from == nullptr) {
      auto made = process_->bind("demo/owner");
      ASSERT_TRUE(made);
      owner = std::move(*made);
      ref = *owner->grant(std::span(memory), {Rights::read_write, me_.id()});
      granted.set_value(ref);
    } else {
      auto arriving = from->get_future();
      ASSERT_EQ(arriving.wait_for(kLong), std::future_status::ready);
      State state = arriving.get();
      auto made = Relocation::install(*process_, state.image);
      ASSERT_TRUE(made) << made.error().to_string();
      owner = std::move(*made);
      memory = std::move(state.memory);
      ASSERT_TRUE(owner->regrant(ref, memory));
      const std::uint32_t epoch = Relocation::epoch(*owner) + 1;
      directory_->moved(owner->id(), epoch, *Relocation::engine_address(*process_));
      Relocation::open(*owner, epoch);
    }
    const std::uint64_t before = copies;
    ASSERT_TRUE(reaches([&] { return over || copies >= before + 2; }));
    if (place == kMoves) {
      ASSERT_TRUE(reaches([&] { return over.load(); }, kAllMoves));
      return;
    }
    // Into the next copy, by a bit more each time.
    (void)process_->run_until([&] { return false; }, std::chrono::milliseconds(place % 4));
    if (place % 3 == 1) process_->cut_connections();
    Relocation::shut(*owner);
    if (place % 3 == 2) process_->cut_connections();
    ASSERT_TRUE(reaches([&] { return Relocation::busy(*owner).empty(); }))
        << Relocation::busy(*owner);
    State state{{}, memory};
    state.image = Relocation::park(*owner);
    const std::vector<std::byte> saved = memory;
    Relocation::leave(*owner);
    to.set_value(std::move(state));
    ASSERT_TRUE(reaches([&] { return over.load(); }, kAllMoves));
    EXPECT_TRUE(memory == saved) << "something landed in what place " << place << " left behind";
  };
  std::vector<std::promise<State>> states(kMoves + 1);
  std::atomic<int> serving{kMoves + 1};
  std::vector<std::jthread> places;
  for (int place = 0; place <= kMoves; ++place) {
    places.emplace_back([&, place] {
      serve(place, place == 0 ? nullptr : &states[static_cast<std::size_t>(place) - 1],
            states[static_cast<std::size_t>(place)]);
      --serving;
    });
  }
  const GrantRef mine = granted.get_future().get();
  std::vector<std::byte> out(kSize), in(kSize);
  const std::uint64_t wanted = 2 * (kMoves + 2);
  for (std::uint64_t n = 1; n <= wanted && !HasFailure(); ++n) {
    fill(out, n);
    auto copied = me_.copy_to(mine, 0, out, kLong);
    EXPECT_TRUE(copied) << n << " " << copied.error().to_string();
    copied = me_.copy_from(mine, 0, in, kLong);
    EXPECT_TRUE(copied) << n << " " << copied.error().to_string();
    EXPECT_TRUE(in == out) << n;
    ++copies;
  }
  over = true;
  // An owner whose connection was cut behind the last copy asks whether that is over, and does not
  // park before it is told.
  EXPECT_TRUE(reaches([&] { return serving == 0; }));
}

// A requester that stands still in the middle of a copy. The owner does not wait for it to go on:
// it is shut out, and the copy ends well all the same.
void Grants::park_beside_one_that_stands_still(bool connection_breaks) {
  constexpr std::size_t kSize = 24 << 20;
  std::vector<std::byte> source(kSize), target(kSize);
  fill(source, 5);
  source[0] = std::byte{1};
  std::promise<GrantRef> from, to;
  std::atomic<bool> held{false}, released{false}, over{false};
  std::jthread source_thread([&] {
    auto owner = process_->bind("demo/source");
    ASSERT_TRUE(owner);
    from.set_value(*owner->grant(std::span<const std::byte>(source)));
    const volatile std::byte& first = target[0];
    while (first == std::byte{0} && !over) process_->progress();
    held = true;
    held.notify_all();
    released.wait(false);
    ASSERT_TRUE(reaches([&] { return over.load(); }));
  });
  std::jthread target_thread([&] {
    auto owner = process_->bind("demo/target");
    ASSERT_TRUE(owner);
    to.set_value(*owner->grant(std::span(target), {Rights::write, {}}));
    ASSERT_TRUE(reaches([&] { return held.load(); }));
    if (connection_breaks) process_->cut_connections();
    Relocation::shut(*owner);
    ASSERT_TRUE(reaches([&] { return Relocation::busy(*owner).empty(); }))
        << Relocation::busy(*owner);
    const std::vector<std::byte> saved = target;
    (void)Relocation::park(*owner);
    released = true;
    released.notify_all();
    (void)process_->run_until([] { return false; }, 100ms);
    EXPECT_TRUE(target == saved) << "something landed after the state was saved";
    const std::uint32_t epoch = Relocation::epoch(*owner) + 1;
    directory_->moved(owner->id(), epoch, *Relocation::engine_address(*process_));
    Relocation::open(*owner, epoch);
    ASSERT_TRUE(reaches([&] { return over.load(); }));
  });
  auto copied =
      me_.copy_between(from.get_future().get(), 0, to.get_future().get(), 0, kSize, kLong);
  EXPECT_TRUE(copied) << copied.error().to_string();
  over = released = true;
  released.notify_all();
  source_thread.join();
  target_thread.join();
  EXPECT_TRUE(target == source);
}

TEST_P(Grants, ALeaseWhoseConnectionBreaksIsOverBeforeItsOwnerParks) {
  if (!is_one_sided()) GTEST_SKIP() << "tcp has no leases";
  park_beside_one_that_stands_still(true);
}

TEST_P(Grants, ALeaseWhoseRequesterIsSilentIsOverBeforeItsOwnerParks) {
  if (!is_one_sided()) GTEST_SKIP() << "tcp has no leases";
  park_beside_one_that_stands_still(false);
}

INSTANTIATE_TEST_SUITE_P(Transports, Grants,
                         ::testing::Values(TransportKind::shm, TransportKind::verbs,
                                           TransportKind::tcp),
                         [](const auto& kind) { return std::string(to_string(kind.param)); });

}  // namespace
}  // namespace godwit
