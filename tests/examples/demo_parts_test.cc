// The parts of the demonstration that judge: they must be able to say BROKEN.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "demo/latencies.h"
#include "demo/report.h"
#include "local_cluster/worker_line.h"

namespace {

TEST(DemoLatencies, PercentilesWithinTheirError) {
  auto latencies = std::make_unique<demo::Latencies>();
  for (std::uint64_t value = 1; value <= 100'000; ++value) latencies->add(value);
  EXPECT_EQ(latencies->count(), 100'000u);
  EXPECT_EQ(latencies->max(), 100'000u);
  EXPECT_NEAR(double(latencies->percentile(0.5)), 50'000, 50'000 / 32.0 + 1);
  EXPECT_NEAR(double(latencies->percentile(0.99)), 99'000, 99'000 / 32.0 + 1);
  EXPECT_EQ(latencies->percentile(1.0), 100'000u);
}

TEST(DemoLatencies, SmallAndHugeValues) {
  auto latencies = std::make_unique<demo::Latencies>();
  latencies->add(0);
  EXPECT_EQ(latencies->percentile(0.5), 0u);
  latencies->add(UINT64_MAX);
  EXPECT_EQ(latencies->max(), UINT64_MAX);
  EXPECT_EQ(latencies->percentile(1.0), UINT64_MAX);
}

TEST(DemoReport, SaysWhatBroke) {
  demo::Report report;
  EXPECT_FALSE(report.all_kept()) << "nothing promised is nothing kept";
  report.promise("water is wet", true, "seen");
  EXPECT_TRUE(report.all_kept());
  report.promise("pigs \"fly\"", false, "none did");
  EXPECT_FALSE(report.all_kept());
  EXPECT_NE(report.to_text().find("BROKEN  pigs"), std::string::npos) << report.to_text();
  EXPECT_NE(report.to_json().find("\"kept\": false"), std::string::npos);
  EXPECT_NE(report.to_json().find("pigs \\\"fly\\\""), std::string::npos) << report.to_json();
}

TEST(LocalClusterWorkerLine, ParsesWhatItPrints) {
  godwit::local_cluster::WorkerLine line("told");
  line.with("after", std::uint64_t{12}).with("why", "the process exited");
  const auto parsed = godwit::local_cluster::WorkerLine::parse(line.to_string());
  EXPECT_EQ(parsed.what(), "told");
  EXPECT_EQ(parsed.number("after"), 12u);
  EXPECT_EQ(parsed.text("why"), "the_process_exited");
  EXPECT_EQ(parsed.number("missing"), 0u);
}

}  // namespace
