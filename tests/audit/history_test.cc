#include "history.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace audit {
namespace {

class AuditHistoryTest : public ::testing::Test {
 protected:
  AuditHistoryTest() {
    std::string pattern = ::testing::TempDir() + "/audit-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~AuditHistoryTest() override { std::filesystem::remove_all(folder_); }
  std::string path() const { return folder_ + "/one.history"; }
  std::string folder_;
};

TEST_F(AuditHistoryTest, GivesBackWhatWasWritten) {
  auto writer = HistoryWriter::create(path(), 3, 17);
  ASSERT_TRUE(writer) << writer.error().to_string();
  for (std::uint64_t number : {1, 2, 3, 5, 6, 4}) {
    ASSERT_TRUE(writer->add(Stream::executed, 9, number));
    ASSERT_TRUE(writer->add(Stream::executed, 8, 1));
  }
  ASSERT_TRUE(writer->add(Stream::ok, 9, 1));
  auto history = read_history(path());
  ASSERT_TRUE(history) << history.error().to_string();
  EXPECT_EQ(history->worker, 3);
  EXPECT_EQ(history->actor, 17);
  EXPECT_FALSE(history->clean);
  const auto runs = history->of(Stream::executed, 9);
  EXPECT_EQ(std::vector<audit::Run>(runs.begin(), runs.end()),
            (std::vector<audit::Run>{{1, 3}, {5, 2}, {4, 1}}));
  EXPECT_EQ(history->of(Stream::executed, 8).size(), 6u);  // a repeat is never folded away
  EXPECT_EQ(history->of(Stream::ok, 9).size(), 1u);
  EXPECT_TRUE(history->of(Stream::unknown, 9).empty());
  writer->set_clean();
  EXPECT_TRUE(read_history(path())->clean);
}

TEST_F(AuditHistoryTest, SurvivesKillOfItsProcess) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto writer = HistoryWriter::create(path(), 1, 1);
    for (std::uint64_t number = 1; writer && number <= 1000; ++number) {
      if (!writer->add(Stream::issued, 2, number)) std::_Exit(1);
    }
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  auto history = read_history(path());
  ASSERT_TRUE(history) << history.error().to_string();
  ASSERT_EQ(history->of(Stream::issued, 2).size(), 1u);
  EXPECT_EQ(history->of(Stream::issued, 2)[0], (audit::Run{1, 1000}));
}

TEST_F(AuditHistoryTest, GrowsWithWhatIsWritten) {
  auto writer = HistoryWriter::create(path(), 1, 1);
  ASSERT_TRUE(writer) << writer.error().to_string();
  EXPECT_LE(std::filesystem::file_size(path()), 1u << 20);
  constexpr std::uint64_t kRuns = 100'000;
  // No two of them follow each other, so each is a run.
  for (std::uint64_t i = 0; i < kRuns; ++i) ASSERT_TRUE(writer->add(Stream::executed, 2, 2 * i));
  const auto history = read_history(path());
  ASSERT_TRUE(history) << history.error().to_string();
  ASSERT_EQ(history->of(Stream::executed, 2).size(), kRuns);
  EXPECT_EQ(history->of(Stream::executed, 2)[kRuns - 1], (audit::Run{2 * (kRuns - 1), 1}));
}

TEST_F(AuditHistoryTest, OneThatWasNeverBegunIsNotThere) {
  std::FILE* file = std::fopen(path().c_str(), "w");
  ASSERT_EQ(::ftruncate(::fileno(file), 4096), 0);
  std::fclose(file);
  const auto history = read_history(path());
  ASSERT_FALSE(history);
  EXPECT_EQ(history.error().code, godwit::Errc::not_found);
}

TEST_F(AuditHistoryTest, RefusesWhatIsNone) {
  EXPECT_FALSE(read_history(path()));
  std::FILE* file = std::fopen(path().c_str(), "w");
  std::fputs("something else altogether, long enough for a head", file);
  std::fclose(file);
  EXPECT_FALSE(read_history(path()));
  std::filesystem::remove(path());
  auto writer = HistoryWriter::create(path(), 1, 1);
  ASSERT_TRUE(writer);
  EXPECT_FALSE(writer->add(Stream::ok, HistoryWriter::kOthers, 1));
  EXPECT_FALSE(HistoryWriter::create(path(), 1, 1)) << "a history is never written over";
}

}  // namespace
}  // namespace audit
