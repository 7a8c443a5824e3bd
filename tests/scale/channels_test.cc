// Ten thousand channels in one process: memory per idle channel, and that each of them works.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "allocations.h"
#include "godwit/godwit.h"

namespace scale {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kChannels = 10'000;
// docs/architecture.md, "Memory": what one idle channel costs at each of its two ends, with its
// entries in the engine's tables and the directory's cache.
constexpr double kBytesPerChannelEnd = 1024;

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// Ten thousand endpoints on one thread, and one on another that opens a channel to each: so the
// process has twenty thousand channel ends and one connection.
TEST(ScaleChannels, MemoryOfAnIdleChannelIsAsDocumented) {
  godwit::ProcessOptions options;
  options.transports = {godwit::fabric::TransportKind::shm, godwit::fabric::TransportKind::tcp};
  auto process = godwit::Process::embedded(options);
  ASSERT_TRUE(process) << process.error().to_string();

  std::atomic<bool> bound{false}, stop{false};
  std::atomic<std::uint64_t> received{0};
  std::thread servers([&] {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < kChannels; ++i) names.push_back("dc/e" + std::to_string(i));
    auto endpoints = (*process)->bind_many(names);
    EXPECT_TRUE(endpoints);
    bound = true;
    while (endpoints && !stop) {
      // Everything arrives on one engine; each endpoint has its own message.
      (*process)->run_until([&] { return stop.load(); }, 50ms).map_error([](const auto&) {});
      for (auto& each : *endpoints) {
        if (each && each->receive(0ms)) ++received;
      }
    }
  });
  while (!bound) std::this_thread::yield();

  auto me = (*process)->bind_anonymous("dc");
  ASSERT_TRUE(me) << me.error().to_string();
  // The connection and the pools are there before the count begins.
  auto first = me->lookup("dc/e0", 10s);
  ASSERT_TRUE(first) << first.error().to_string();
  ASSERT_TRUE(me->send(*first, godwit::bytes_of("x"), 10s));
  ASSERT_TRUE((*process)->run_until([] { return false; }, 200ms).error().code ==
              godwit::Errc::deadline_exceeded);
  const std::size_t resident_before = resident_bytes();
  const std::size_t heap_before = bytes_in_use();

  for (std::size_t i = 1; i < kChannels; ++i) {
    auto peer = me->lookup("dc/e" + std::to_string(i), 10s);
    ASSERT_TRUE(peer) << peer.error().to_string();
    ASSERT_TRUE(me->send(*peer, godwit::bytes_of("x"), 10s)) << i;
  }
  // Idle means: all was received and acknowledged.
  const auto done = (*process)->run_until([&] { return received >= kChannels; }, 30s);
  EXPECT_TRUE(done) << received << " messages of " << kChannels;
  (*process)->run_until([] { return false; }, 500ms).map_error([](const auto&) {});
  if (!kSanitized) {
    const double ends = 2.0 * double(kChannels - 1);
    const double resident = (double(resident_bytes()) - double(resident_before)) / ends;
    const double heap = (double(bytes_in_use()) - double(heap_before)) / ends;
    std::printf("per idle channel end: %.0f bytes of heap, %.0f bytes resident\n", heap, resident);
    EXPECT_LE(heap, kBytesPerChannelEnd);
    EXPECT_LE(resident, kBytesPerChannelEnd);
  }
  stop = true;
  servers.join();
}

}  // namespace
}  // namespace scale
