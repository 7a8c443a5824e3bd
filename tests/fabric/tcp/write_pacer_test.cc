#include "tcp/write_pacer.h"

#include <gtest/gtest.h>

namespace godwit::fabric::tcp {
namespace {

using namespace std::chrono_literals;

TEST(WritePacer, ALoneSendIsDueAndABurstIsCollected) {
  WritePacer pacer;
  WritePacer::Time now{1h};
  EXPECT_TRUE(pacer.due(now));
  pacer.wrote(now);
  EXPECT_FALSE(pacer.due(now));
  EXPECT_FALSE(pacer.due(now + WritePacer::kQuiet - 1ns));
  EXPECT_TRUE(pacer.due(now + WritePacer::kQuiet));
}

TEST(WritePacer, AFullBatchDoesNotWait) {
  EXPECT_FALSE(WritePacer::batch_full(WritePacer::kBatchFrames - 1, WritePacer::kBatchBytes - 1));
  EXPECT_TRUE(WritePacer::batch_full(WritePacer::kBatchFrames, 0));
  EXPECT_TRUE(WritePacer::batch_full(1, WritePacer::kBatchBytes));
}

}  // namespace
}  // namespace godwit::fabric::tcp
