#include "tcp/write_pacer.h"

#include <gtest/gtest.h>

namespace godwit::fabric::tcp {
namespace {

using namespace std::chrono_literals;

TEST(WritePacer, ALoneSendIsDueAndABurstIsCollected) {
  WritePacer pacer;
  const WritePacer::Time now{1h};
  EXPECT_TRUE(pacer.due(now));
  pacer.wrote(now, now + 10us);
  EXPECT_FALSE(pacer.due(now + 10us));
  EXPECT_FALSE(pacer.due(now + 20us - 1ns));
  EXPECT_TRUE(pacer.due(now + 20us));
}

TEST(WritePacer, ThePauseIsNeitherTooShortNorTooLong) {
  WritePacer pacer;
  const WritePacer::Time now{1h};
  pacer.wrote(now, now);
  EXPECT_FALSE(pacer.due(now + WritePacer::kShortestPause - 1ns));
  EXPECT_TRUE(pacer.due(now + WritePacer::kShortestPause));
  pacer.wrote(now, now + 1s);  // the process was not running for a while
  EXPECT_FALSE(pacer.due(now + 1s + WritePacer::kLongestPause - 1ns));
  EXPECT_TRUE(pacer.due(now + 1s + WritePacer::kLongestPause));
}

TEST(WritePacer, AFullBatchDoesNotWait) {
  EXPECT_FALSE(WritePacer::batch_full(WritePacer::kBatchFrames - 1, WritePacer::kBatchBytes - 1));
  EXPECT_TRUE(WritePacer::batch_full(WritePacer::kBatchFrames, 0));
  EXPECT_TRUE(WritePacer::batch_full(1, WritePacer::kBatchBytes));
}

}  // namespace
}  // namespace godwit::fabric::tcp
