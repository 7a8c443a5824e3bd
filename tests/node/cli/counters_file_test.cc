#include "cli/counters_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "cli/counters_view.h"
#include "support/agent_process.h"

namespace godwit::node::cli {
namespace {

using Kind = fabric::TransportKind;
using PerTransport = EngineCounters::PerTransport;

// A process's counters file as its engines would write it.
class CountersFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_.path() + "/counters");
    page_ = map(file());
    new (page_) CountersPage;
    page_->pid = static_cast<std::uint32_t>(::getpid());
    page_->process = 0x1234;
    std::strcpy(page_->program.data(), "tester");
    std::strcpy(page_->node.data(), "alpha");
  }
  void TearDown() override { ::munmap(page_, sizeof *page_); }

  std::string file() const { return folder_.path() + "/counters/0000000000001234.counters"; }

  static CountersPage* map(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(::ftruncate(fd, sizeof(CountersPage)), 0);
    void* memory = ::mmap(nullptr, sizeof(CountersPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    return static_cast<CountersPage*>(memory);
  }

  test_support::TemporaryFolder folder_;
  CountersPage* page_ = nullptr;
};

TEST_F(CountersFileTest, AddsEnginesUp) {
  auto& engines = page_->engines;
  engines[0].in_use.set(1);
  engines[0].sends.set(10);
  engines[0].endpoints.set(2);
  engines[0].transport[static_cast<std::size_t>(Kind::shm)].connections.set(1);
  engines[0].transport[static_cast<std::size_t>(Kind::shm)].bytes_sent.set(100);
  engines[3].in_use.set(1);
  engines[3].sends.set(5);
  engines[3].endpoints.set(1);
  engines[3].transport[static_cast<std::size_t>(Kind::tcp)].connections.set(2);
  engines[3].transport[static_cast<std::size_t>(Kind::tcp)].bytes_sent.set(11);
  // Ended: what it did counts, what it held does not.
  engines[7].sends.set(1000);
  engines[7].endpoints.set(50);

  const auto process = read_counters(file());
  ASSERT_TRUE(process) << process.error().to_string();
  EXPECT_EQ(process->process, 0x1234U);
  EXPECT_EQ(process->program, "tester");
  EXPECT_EQ(process->node, "alpha");
  EXPECT_TRUE(process->alive);
  ASSERT_EQ(process->engines.size(), 2U);
  EXPECT_EQ(process->engines[1].index, 3U);
  EXPECT_EQ(process->totals.get(&EngineCounters::sends), 1015U);
  EXPECT_EQ(process->totals.get(&EngineCounters::endpoints), 3U);
  EXPECT_EQ(process->totals.total(&PerTransport::bytes_sent), 111U);
  EXPECT_EQ(process->transports(), "shm,tcp");
}

TEST_F(CountersFileTest, RatesAreChangesOverTime) {
  page_->engines[0].in_use.set(1);
  page_->engines[0].calls.set(100);
  page_->engines[0].channels.set(4);
  std::vector<ProcessCounters> before = {read_counters(file()).value()};
  page_->engines[0].calls.add(50);
  page_->engines[0].channels.set(3);
  std::vector<ProcessCounters> now = {read_counters(file()).value()};
  now[0].read_at = before[0].read_at + std::chrono::seconds(2);
  const auto changes = intervals(before, now);
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].rate(&EngineCounters::calls), 25);
  EXPECT_EQ(changes[0].change.get(&EngineCounters::channels), 3U);
  const Json document = json_of(changes[0]);
  EXPECT_EQ(document["rates"]["calls"], 25);
  EXPECT_EQ(document["totals"]["calls"], 150);
  EXPECT_FALSE(json_of(intervals({}, now)[0]).contains("rates"));
}

TEST_F(CountersFileTest, EveryCounterOfTheLayoutIsShown) {
  // in_use is no counter for people; all others must have a name here.
  constexpr std::size_t kBeforeTransports =
      offsetof(EngineCounters, transport) / sizeof(Counter) - 1;
  EXPECT_EQ(kCounterFields.size(), kBeforeTransports);
  EXPECT_EQ(kTransportFields.size(), sizeof(PerTransport) / sizeof(Counter));
}

TEST_F(CountersFileTest, RefusesWhatItDoesNotKnow) {
  page_->version = CountersPage::kVersion + 1;
  EXPECT_EQ(read_counters(file()).error().code, Errc::version_mismatch);
  page_->magic = 1;
  EXPECT_EQ(read_counters(file()).error().code, Errc::protocol_error);
  std::filesystem::resize_file(file(), 100);
  EXPECT_EQ(read_counters(file()).error().code, Errc::protocol_error);
  EXPECT_EQ(read_counters(file() + "x").error().code, Errc::not_found);
  // Nothing of this may be touched through the mapping any more.
  std::filesystem::resize_file(file(), sizeof(CountersPage));
}

TEST_F(CountersFileTest, AFolderWithOddFilesShowsTheSoundOnes) {
  const std::string counters = folder_.path() + "/counters/";
  std::ofstream(counters + "short.counters") << "being made";
  std::ofstream(counters + "notes.txt") << "not ours";
  std::filesystem::create_directory(counters + "folder.counters");
  CountersPage* other = map(counters + "other.counters");
  new (other) CountersPage;
  other->version = 99;
  ::munmap(other, sizeof *other);
  std::vector<Error> problems;
  const auto all = read_all_counters(folder_.path(), problems);
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 1U);
  EXPECT_EQ(all->front().process, 0x1234U);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].code, Errc::version_mismatch);
  EXPECT_EQ(read_all_counters(folder_.path() + "/none", problems).error().code, Errc::not_found);
}

}  // namespace
}  // namespace godwit::node::cli
