// Who waits costs nothing: a blocked endpoint uses no measurable processor time.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <string>

#include "allocations.h"
#include "godwit/godwit.h"
#include "local_cluster/cluster.h"

namespace scale {
namespace {

using namespace std::chrono_literals;

std::chrono::microseconds processor_time() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// With a channel and a connection open, so that there is something that could keep it awake.
void expect_blocked_costs_nothing(godwit::Process& process, const char* dc) {
  auto one = process.bind(std::string(dc) + "/one");
  auto two = process.bind(std::string(dc) + "/two");
  ASSERT_TRUE(one && two);
  auto peer = one->lookup(std::string(dc) + "/two", 5s);
  ASSERT_TRUE(peer);
  ASSERT_TRUE(one->send(*peer, godwit::bytes_of("x"), 5s));
  ASSERT_TRUE(two->receive(5s));
  // What was left to do, acknowledgements and the like, is done by then.
  EXPECT_FALSE(two->receive(500ms));
  const auto before = processor_time();
  const auto nothing = two->receive(2s);
  const auto used = processor_time() - before;
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, godwit::Errc::deadline_exceeded);
  // With all threads of the process, the agent link's among them.
  EXPECT_LT(used, kSanitized ? 50ms : 5ms) << used.count() << " us in 2 s";
}

TEST(ScaleIdle, ABlockedEndpointOfAnEmbeddedProcess) {
  auto process = godwit::Process::embedded();
  ASSERT_TRUE(process) << process.error().to_string();
  expect_blocked_costs_nothing(**process, "dc");
}

TEST(ScaleIdleReal, ABlockedEndpointOfAnAttachedProcess) {
  auto cluster = godwit::local_cluster::Cluster::start(
      {.nodes = {"here"}, .dc = "dc", .programs = {}, .zookeeper = {}});
  ASSERT_TRUE(cluster) << cluster.error().to_string();
  godwit::ProcessOptions options;
  options.runtime_directory = cluster->runtime_directory("here");
  auto process = godwit::Process::attach(options);
  ASSERT_TRUE(process) << process.error().to_string();
  expect_blocked_costs_nothing(**process, "dc");
}

}  // namespace
}  // namespace scale
