#include "godwit/fabric/arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace godwit::fabric {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

TEST(Arena, GivesWhatWasAskedPageAligned) {
  auto arena = Arena::create(4 * kMiB).value();
  for (const std::size_t size : {std::size_t{1}, std::size_t{4096}, std::size_t{4097}, kMiB}) {
    Buffer buffer = arena->allocate(size);
    ASSERT_EQ(buffer.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % Arena::kBlock, 0u);
    EXPECT_TRUE(arena->owns(buffer));
    std::memset(buffer.data(), 1, size);
  }
  EXPECT_EQ(arena->in_use(), 0u);
  EXPECT_FALSE(arena->owns(Buffer::unowned(arena->base(), 1)));
}

TEST(Arena, ExhaustedItSaysSoAndRecovers) {
  auto arena = Arena::create(kMiB).value();
  std::vector<Buffer> all;
  for (std::size_t i = 0; i < kMiB / Arena::kBlock; ++i) {
    all.push_back(arena->allocate(Arena::kBlock));
    ASSERT_FALSE(all.back().empty());
  }
  EXPECT_TRUE(arena->allocate(1).empty());
  all.pop_back();
  EXPECT_FALSE(arena->allocate(1).empty());
  EXPECT_TRUE(arena->allocate(2 * kMiB).empty());
}

TEST(Arena, FreedNeighboursBecomeOneAgain) {
  auto arena = Arena::create(kMiB).value();
  for (int order = 0; order < 2; ++order) {
    std::vector<Buffer> all;
    for (std::size_t i = 0; i < kMiB / Arena::kBlock; ++i) {
      all.push_back(arena->allocate(Arena::kBlock));
    }
    // Every other block first: nothing can be joined until the rest goes, too.
    for (std::size_t i = 0; i < all.size(); i += 2) all[i] = Buffer();
    EXPECT_TRUE(arena->allocate(2 * Arena::kBlock).empty());
    if (order == 0) {
      for (auto& buffer : all) buffer = Buffer();
    } else {
      for (auto buffer = all.rbegin(); buffer != all.rend(); ++buffer) *buffer = Buffer();
    }
    Buffer whole = arena->allocate(kMiB);
    EXPECT_EQ(whole.size(), kMiB);
  }
}

TEST(Arena, RandomUseNeverOverlaps) {
  auto arena = Arena::create(4 * kMiB).value();
  std::mt19937_64 random(20'000);
  struct Held {
    Buffer buffer;
    std::byte mark;
  };
  std::vector<Held> held;
  for (int step = 0; step < 20'000; ++step) {
    if (held.empty() || random() % 2 == 0) {
      Buffer buffer = arena->allocate(1 + random() % (200 << 10));
      if (buffer.empty()) continue;
      const auto mark = static_cast<std::byte>(random());
      // The ends are enough to see an overlap.
      buffer.data()[0] = buffer.data()[buffer.size() - 1] = mark;
      held.push_back({std::move(buffer), mark});
    } else {
      const std::size_t at = random() % held.size();
      ASSERT_EQ(held[at].buffer.data()[0], held[at].mark);
      ASSERT_EQ(held[at].buffer.data()[held[at].buffer.size() - 1], held[at].mark);
      std::swap(held[at], held.back());
      held.pop_back();
    }
  }
  held.clear();
  EXPECT_EQ(arena->in_use(), 0u);
  EXPECT_EQ(arena->allocate(4 * kMiB).size(), 4 * kMiB);
}

TEST(Arena, ALentBlockReturnsWithItsLastHolder) {
  auto arena = Arena::create(kMiB).value();
  Buffer buffer = arena->allocate(kMiB);
  const std::uint64_t offset = buffer.token();
  arena->lend(offset);
  arena->lend(offset);
  buffer = Buffer();
  EXPECT_TRUE(arena->is_lent(offset));
  EXPECT_TRUE(arena->allocate(1).empty());
  arena->give_back(offset);
  EXPECT_TRUE(arena->allocate(1).empty());
  arena->give_back(offset);
  EXPECT_FALSE(arena->is_lent(offset));
  EXPECT_FALSE(arena->allocate(kMiB).empty());
}

TEST(Arena, WhatAPeerClaimsIsJudged) {
  auto arena = Arena::create(kMiB).value();
  Buffer buffer = arena->allocate(8192);
  EXPECT_FALSE(arena->is_lent(buffer.token() + 1));
  EXPECT_FALSE(arena->is_lent(kMiB));
  EXPECT_FALSE(arena->is_lent(~std::uint64_t{0}));
}

TEST(Arena, BuffersDestroyedOnOtherThreadsComeHome) {
  auto arena = Arena::create(4 * kMiB).value();
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<Buffer>> shares(4);
    for (auto& share : shares) {
      for (int i = 0; i < 20; ++i) share.push_back(arena->allocate(5000));
    }
    std::vector<std::thread> threads;
    threads.reserve(shares.size());
    for (auto& share : shares) threads.emplace_back([&share] { share.clear(); });
    for (int i = 0; i < 200; ++i) arena->allocate(3000);
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(arena->in_use(), 0u);
  }
  // An empty arena looks for what other threads gave before it refuses.
  Buffer whole = arena->allocate(4 * kMiB);
  ASSERT_FALSE(whole.empty());
  std::thread([&] { whole = Buffer(); }).join();
  EXPECT_FALSE(arena->allocate(4 * kMiB).empty());
}

TEST(Arena, PeersCanOnlyRead) {
  auto arena = Arena::create(kMiB).value();
  EXPECT_EQ(mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, arena->fd(), 0), MAP_FAILED);
  void* seen = mmap(nullptr, kMiB, PROT_READ, MAP_SHARED, arena->fd(), 0);
  ASSERT_NE(seen, MAP_FAILED);
  Buffer buffer = arena->allocate(10);
  std::memcpy(buffer.data(), "shared", 6);
  EXPECT_EQ(std::memcmp(static_cast<char*>(seen) + buffer.token(), "shared", 6), 0);
  munmap(seen, kMiB);
}

TEST(Arena, RefusesAbsurdSizes) {
  EXPECT_EQ(Arena::create(std::size_t{1} << 50).error().code, Errc::too_large);
  EXPECT_EQ(Arena::create(1).value()->capacity(), kMiB);
}

}  // namespace
}  // namespace godwit::fabric
