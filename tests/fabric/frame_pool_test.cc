#include "godwit/fabric/frame_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace godwit::fabric {
namespace {

TEST(FramePool, EverySizeHasItsRoom) {
  FramePool pool;
  std::vector<FramePtr> frames;
  for (std::uint32_t size = 0; size <= kSmallPayload; ++size) {
    FramePtr frame = pool.allocate(size);
    ASSERT_NE(frame, nullptr);
    ASSERT_EQ(frame->header.length, size);
    ASSERT_EQ(frame->payload().size(), size);
    // Sanitizers and the comparison below tell if two frames overlap.
    std::memset(frame->small(), static_cast<int>(size & 0xff), size);
    frames.push_back(std::move(frame));
  }
  EXPECT_EQ(pool.outstanding(), kSmallPayload + 1);
  for (std::uint32_t size = 0; size <= kSmallPayload; ++size) {
    for (const std::byte byte : frames[size]->payload()) {
      ASSERT_EQ(byte, static_cast<std::byte>(size & 0xff));
    }
  }
  frames.clear();
  EXPECT_EQ(pool.outstanding(), 0u);
}

TEST(FramePool, ReusesWhatCameHome) {
  FramePool pool;
  for (int round = 0; round < 100; ++round) {
    std::vector<FramePtr> frames;
    for (int i = 0; i < 100; ++i) frames.push_back(pool.allocate(64));
    static std::size_t first_bytes = 0;
    if (round == 0) first_bytes = pool.bytes();
    ASSERT_EQ(pool.bytes(), first_bytes);
  }
}

TEST(FramePool, AReleasedFrameEndsItsLargeBuffer) {
  FramePool pool;
  int ended = 0;
  std::byte memory[8];
  FramePtr frame = pool.allocate(0);
  frame->large = Buffer(
      memory, sizeof memory,
      [](void* context, std::uint64_t) noexcept { ++*static_cast<int*>(context); }, &ended);
  frame.reset();
  EXPECT_EQ(ended, 1);
  EXPECT_TRUE(pool.allocate(0)->large.empty());
}

TEST(FramePool, FramesReleasedOnOtherThreadsComeHome) {
  FramePool pool;
  constexpr std::size_t kThreads = 4, kEach = 2000;
  for (int round = 0; round < 5; ++round) {
    std::vector<std::vector<FramePtr>> shares(kThreads);
    for (auto& share : shares) {
      for (std::size_t i = 0; i < kEach; ++i) share.push_back(pool.allocate(i % 2048));
    }
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (auto& share : shares) threads.emplace_back([&share] { share.clear(); });
    // The owner goes on allocating and releasing meanwhile.
    for (int i = 0; i < 5000; ++i) pool.allocate(64);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(pool.outstanding(), 0u);
  }
}

TEST(FramePool, AForeignReleaseIsReusedBeforeTheSystemIsAsked) {
  FramePool pool;
  const auto drain = [&] {
    std::vector<FramePtr> frames;
    const std::size_t before = pool.bytes();
    do {
      frames.push_back(pool.allocate(2048));
    } while (pool.bytes() == before || frames.size() < 4);
    return frames;
  };
  auto frames = drain();
  const std::size_t count = frames.size();
  std::thread([&] { frames.clear(); }).join();
  const std::size_t bytes = pool.bytes();
  for (std::size_t i = 0; i < count; ++i) frames.push_back(pool.allocate(2048));
  EXPECT_EQ(pool.bytes(), bytes);
  EXPECT_EQ(pool.outstanding(), count);
}

TEST(FramePool, APinnedFrameGoesHomeWithItsLastPin) {
  FramePool pool;
  FramePtr frame = pool.allocate(10);
  Frame& raw = *frame;
  FramePool::pin(raw);
  FramePool::pin(raw);
  frame.reset();
  EXPECT_EQ(pool.outstanding(), 1u);
  FramePool::unpin(raw);
  EXPECT_EQ(pool.outstanding(), 1u);
  FramePool::unpin(raw);
  EXPECT_EQ(pool.outstanding(), 0u);
  // Unpinned before it is released, it stays the caller's.
  frame = pool.allocate(10);
  FramePool::pin(*frame);
  FramePool::unpin(*frame);
  EXPECT_EQ(pool.outstanding(), 1u);
}

TEST(FrameQueue, IsFirstInFirstOutAndOwns) {
  FramePool pool;
  {
    FrameQueue queue;
    EXPECT_TRUE(queue.empty());
    for (std::uint32_t i = 0; i < 10; ++i) {
      FramePtr frame = pool.allocate(4);
      frame->header.upper[0] = i;
      queue.push(std::move(frame));
    }
    for (std::uint32_t i = 0; i < 5; ++i) EXPECT_EQ(queue.pop()->header.upper[0], i);
    FrameQueue other(std::move(queue));
    EXPECT_EQ(other.front()->header.upper[0], 5u);
    EXPECT_EQ(pool.outstanding(), 5u);
  }
  EXPECT_EQ(pool.outstanding(), 0u);
}

}  // namespace
}  // namespace godwit::fabric
