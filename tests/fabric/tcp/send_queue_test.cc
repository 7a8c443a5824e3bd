#include "tcp/send_queue.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "godwit/fabric/arena.h"

namespace godwit::fabric::tcp {
namespace {

class SendQueueTest : public ::testing::Test {
 protected:
  FramePtr make_frame(std::uint32_t size) {
    FramePtr frame = frames_.allocate(std::min(size, kSmallPayload));
    frame->header.length = size;
    frame->header.upper[0] = ++count_;
    if (size > kSmallPayload) frame->large = arena_->allocate(size);
    for (std::byte& byte : frame->payload()) byte = static_cast<std::byte>(next_byte_++);
    return frame;
  }

  static std::string wire_bytes(Frame& frame) {
    std::string bytes(reinterpret_cast<const char*>(&frame.header), sizeof(FrameHeader));
    const auto payload = frame.payload();
    return bytes.append(reinterpret_cast<const char*>(payload.data()), payload.size());
  }

  static std::string text_of(std::span<const iovec> vectors) {
    std::string text;
    for (const iovec& vector : vectors) {
      text.append(static_cast<const char*>(vector.iov_base), vector.iov_len);
    }
    return text;
  }

  FramePool frames_;
  std::unique_ptr<Arena> arena_ = Arena::create(16 << 20).value();
  std::uint32_t count_ = 0;
  std::uint32_t next_byte_ = 0;
  std::vector<std::byte> staging_ = std::vector<std::byte>(64 << 10);
  std::vector<iovec> vectors_ = std::vector<iovec>(64);
};

TEST_F(SendQueueTest, SmallFramesBecomeOneVectorAndLargePayloadsAreReferredTo) {
  SendQueue queue;
  for (const std::uint32_t size : {64u, 0u, 512u}) queue.push_owned(make_frame(size));
  EXPECT_EQ(queue.gather(staging_, vectors_).vectors, 1u);
  FramePtr large = make_frame(100'000);
  queue.push_retained(*large);
  queue.push_owned(make_frame(8));
  const auto gathered = queue.gather(staging_, vectors_);
  ASSERT_EQ(gathered.vectors, 3u);
  EXPECT_EQ(vectors_[1].iov_base, large->payload().data()) << "the payload was copied";
  EXPECT_EQ(vectors_[1].iov_len, 100'000u);
  EXPECT_EQ(gathered.bytes, queue.bytes());
}

// Whatever sizes are queued and however few bytes leave at a time, the bytes that leave are those
// of the frames, in order.
TEST_F(SendQueueTest, AnyPartialWritesGiveTheSameBytes) {
  std::mt19937_64 random(20'000);
  for (int round = 0; round < 200; ++round) {
    SendQueue queue;
    std::vector<FramePtr> retained;
    std::string expected, left;
    const std::size_t room = 2 + random() % 20;
    for (int step = 0; step < 200; ++step) {
      if (random() % 2 == 0 && !queue.full()) {
        const std::uint32_t sizes[] = {0, 1, 64, 512, 513, 2048, 5000};
        FramePtr frame = make_frame(sizes[random() % 7]);
        expected += wire_bytes(*frame);
        if (random() % 2 == 0) {
          queue.push_owned(std::move(frame));
        } else {
          queue.push_retained(*frame);
          retained.push_back(std::move(frame));
        }
      }
      const auto gathered =
          queue.gather(std::span(staging_).first(600), std::span(vectors_).first(room));
      const std::string text = text_of(std::span(vectors_).first(gathered.vectors));
      ASSERT_EQ(text.size(), gathered.bytes);
      ASSERT_EQ(gathered.bytes == 0, queue.empty());
      const std::size_t taken = text.empty() ? 0 : random() % (text.size() + 1);
      left += text.substr(0, taken);
      queue.consume(taken);
      ASSERT_EQ(queue.bytes(), expected.size() - left.size());
    }
    ASSERT_EQ(left, expected.substr(0, left.size()));
    queue.clear();
    ASSERT_EQ(frames_.outstanding(), retained.size()) << "owned frames must have been released";
  }
  EXPECT_EQ(arena_->in_use(), 0u);
}

TEST_F(SendQueueTest, AnOwnedFrameIsReleasedWithItsLastByte) {
  SendQueue queue;
  queue.push_owned(make_frame(10));
  queue.consume(sizeof(FrameHeader) + 9);
  EXPECT_EQ(frames_.outstanding(), 1u);
  queue.consume(1);
  EXPECT_EQ(frames_.outstanding(), 0u);
  EXPECT_TRUE(queue.empty());
}

TEST_F(SendQueueTest, ARetainedFrameMayBeReleasedBeforeItsBytesHaveLeft) {
  SendQueue queue;
  FramePtr frame = make_frame(1000);
  const std::string expected = wire_bytes(*frame);
  queue.push_retained(*frame);
  frame.reset();
  EXPECT_EQ(frames_.outstanding(), 1u);
  // A new frame of that size must not take its memory.
  FramePtr other = make_frame(1000);
  const auto gathered = queue.gather(staging_, vectors_);
  EXPECT_EQ(text_of(std::span(vectors_).first(gathered.vectors)), expected);
  queue.consume(gathered.bytes);
  EXPECT_EQ(frames_.outstanding(), 1u);
}

TEST_F(SendQueueTest, IsFullByFramesOrByBytes) {
  SendQueue queue;
  FramePtr small = make_frame(0);
  for (std::size_t i = 0; i < SendQueue::kMaxFrames; ++i) {
    ASSERT_FALSE(queue.full());
    queue.push_retained(*small);
  }
  EXPECT_TRUE(queue.full());
  EXPECT_FALSE(queue.roomy());
  queue.consume(SendQueue::kMaxFrames / 2 * sizeof(FrameHeader));
  EXPECT_TRUE(queue.roomy());
  queue.clear();
  FramePtr large = make_frame(3 << 20);
  queue.push_retained(*large);
  EXPECT_FALSE(queue.full());
  queue.push_retained(*large);
  EXPECT_TRUE(queue.full());
}

}  // namespace
}  // namespace godwit::fabric::tcp
