// What is LocalCoordinator's own: kills at any moment, a full disk, a restart of the
// machine, a clean-up of /dev/shm, idle cost.
#include "coord/backend.h"
#include "coord/participant_process.h"
#include "local_store.h"

#include <godwit/coord/blocking.h>
#include <godwit/coord/local_coordinator.h>
#include <gtest/gtest.h>

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <random>
#include <thread>

namespace godwit::coord {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<LocalCoordinator> open_in(const std::string& folder, SessionHandler events = {}) {
  auto opened = LocalCoordinator::open({folder, 600ms, std::move(events)});
  EXPECT_TRUE(opened) << opened.error().message;
  return opened ? std::move(*opened) : nullptr;
}

TEST(LocalCoordinator, SurvivesKillsAtAnyMoment) {
  auto backend = make_local_backend();
  constexpr int kRounds = 8;
  std::vector<std::unique_ptr<ParticipantProcess>> writers;
  for (int i = 0; i < kRounds; ++i)
    writers.push_back(
        std::make_unique<ParticipantProcess>(*backend, [i](Coordinator& c, const auto& report) {
          const std::string folder = "/k" + std::to_string(i);
          static_cast<void>(blocking::create(c, folder, "", CreateMode::persistent, soon()));
          static_cast<void>(blocking::create(c, folder + "/e", "", CreateMode::ephemeral, soon()));
          report('+');
          // Pairs, each in one multi; the test looks for halves.
          for (int n = 0;; ++n) {
            const std::string path = folder + "/" + std::to_string(n);
            c.multi({CreateOp{path + "a", "x"}, CreateOp{path + "b", "x"}}, soon(), [](auto) {});
            if (n % 256 == 0) static_cast<void>(blocking::get(c, folder, soon()));
          }
        }));
  auto c = backend->open();
  std::mt19937 random(7);
  for (int i = 0; i < kRounds; ++i) {
    auto& writer = *writers[static_cast<std::size_t>(i)];
    writer.start();
    ASSERT_TRUE(writer.wait_report('+'));
    // Some moment of its work; which one is the point of the test.
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
    writer.kill_and_wait();
    const std::string folder = "/k" + std::to_string(i);
    EXPECT_TRUE(eventually([&] {
      const auto e = blocking::get(*c, folder + "/e", soon());
      return !e && e.error().code == Errc::no_node;
    }));
    auto children = blocking::list(*c, folder, soon());
    ASSERT_TRUE(children);
    EXPECT_EQ(children->names.size() % 2, 0U);
    EXPECT_EQ(static_cast<std::size_t>(children->stat.children), children->names.size());
    EXPECT_TRUE(blocking::set(*c, folder, "alive", Expected::any(), soon()));
  }
}

TEST(LocalCoordinator, AFullDiskIsAnErrorThatPasses) {
  const TemporaryFolder mount_point;
  // In a process of its own, for its own mounts.
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNS) != 0 ||
        mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", mount_point.path().c_str(), "tmpfs", 0, "size=2m") != 0)
      _exit(77);
    const std::string folder = mount_point.path() + "/store";
    int stored = 0;
    bool recovered = false;
    {
      auto c = open_in(folder);
      if (c == nullptr) _exit(1);
      const std::string big(32 * 1024, 'x');
      Result<Stat> made;
      while (made = blocking::create(*c, "/n" + std::to_string(stored), big, CreateMode::persistent,
                                     soon()))
        ++stored;
      if (made.error().code != Errc::no_space || stored < 5) _exit(2);
      // Reads go on, and nothing of what was answered ok is lost.
      for (int i = 0; i < stored; ++i) {
        const auto read = blocking::get(*c, "/n" + std::to_string(i), soon());
        if (!read || read->data != big) _exit(3);
      }
      // Room again: it goes on by itself.
      if (mount("tmpfs", mount_point.path().c_str(), "tmpfs", MS_REMOUNT, "size=16m") != 0)
        _exit(4);
      recovered = blocking::create(*c, "/after", big, CreateMode::persistent, soon()).has_value();
    }
    auto c = open_in(folder);
    if (c == nullptr || !recovered) _exit(5);
    if (blocking::list(*c, "/", soon())->names.size() != static_cast<std::size_t>(stored) + 1)
      _exit(6);
    c.reset();
    umount2(mount_point.path().c_str(), MNT_DETACH);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "needs the right to mount a tmpfs";
  EXPECT_EQ(WEXITSTATUS(status), 0) << "the step that failed";
}

TEST(LocalStore, ARestartOfTheMachineEndsAllSessions) {
  TemporaryFolder folder;
  auto before = LocalStore::open({folder.path(), 600ms, "boot 1"});
  ASSERT_TRUE(before) << before.error().message;
  auto session = (*before)->open_session(soon());
  ASSERT_TRUE(session);
  ASSERT_TRUE((*before)->try_begin());
  ASSERT_TRUE((*before)->apply({CreateOp{"/e", "", CreateMode::ephemeral}, CreateOp{"/p", ""}},
                               session->id));
  ASSERT_TRUE((*before)->commit());
  auto same_boot = LocalStore::open({folder.path(), 600ms, "boot 1"});
  ASSERT_TRUE((*same_boot)->open_session(soon()));
  EXPECT_TRUE((*same_boot)->get("/e", nullptr));

  auto next_boot = LocalStore::open({folder.path(), 600ms, "boot 2"});
  auto next_session = (*next_boot)->open_session(soon());
  ASSERT_TRUE(next_session);
  EXPECT_NE(next_session->id, session->id);
  EXPECT_EQ((*next_boot)->get("/e", nullptr).error().code, Errc::no_node);
  EXPECT_TRUE((*next_boot)->get("/p", nullptr));
  EXPECT_FALSE(*(*next_boot)->session_exists(session->id));
  ASSERT_TRUE((*next_boot)->end_session(*next_session, soon()));
}

TEST(LocalCoordinator, ARemovedLivenessFileIsMadeAnew) {
  TemporaryFolder folder;
  std::atomic<int> expired{0};
  const auto count = [&](SessionEvent event) { expired += event == SessionEvent::expired; };
  auto a = open_in(folder.path(), count);
  auto b = open_in(folder.path(), count);
  ASSERT_TRUE(blocking::create(*a, "/e", "", CreateMode::ephemeral, soon()));
  // The file that these two share, by their own mappings.
  std::string liveness;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (const auto at = line.find("/dev/shm/godwit-"); at != std::string::npos)
      liveness = line.substr(at);
  ASSERT_NE(liveness, "");
  ASSERT_TRUE(std::filesystem::remove(liveness));
  auto c = open_in(folder.path(), count);  // meets no file
  std::atomic<int> seen{0};
  ASSERT_TRUE(blocking::get(*b, "/e", soon(), [&] { ++seen; }));
  // Long enough that sessions which did not move would have been expired.
  std::this_thread::sleep_for(1500ms);
  EXPECT_EQ(expired, 0);
  ASSERT_TRUE(blocking::set(*c, "/e", "1", Expected::any(), soon()));
  EXPECT_TRUE(eventually([&] { return seen == 1; }));
}

TEST(LocalCoordinator, IdleCostsNearlyNothing) {
  TemporaryFolder folder;
  auto a = open_in(folder.path());
  auto b = open_in(folder.path());
  ASSERT_TRUE(blocking::create(*a, "/w", "", CreateMode::persistent, soon()));
  ASSERT_TRUE(blocking::get(*b, "/w", soon(), [] {}));
  const auto cpu = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  const auto before = cpu();
  std::this_thread::sleep_for(2s);
  const auto used = cpu() - before;
  // Two participants, 2 s. A thread that spins would use all of them.
  EXPECT_LT(used, 60ms);
}

// --- Writes on the calling thread --------------------------------------------------------------

struct Written {
  std::atomic<bool> done{false};
  std::thread::id by;
  bool on_callback_thread = false;
};

std::shared_ptr<Written> write_here(Coordinator& c, const std::string& path, std::string data) {
  auto written = std::make_shared<Written>();
  c.multi(
      {SetOp{path, std::move(data)}}, soon(),
      [written, &c](const Result<std::vector<Stat>>& stats) {
        EXPECT_TRUE(stats);
        written->by = std::this_thread::get_id();
        written->on_callback_thread = c.on_callback_thread();
        written->done = true;
      },
      WriteOn::calling_thread);
  return written;
}

TEST(LocalCoordinator, AWriteOnTheCallingThreadIsDoneWhenTheCallReturns) {
  TemporaryFolder folder;
  auto c = open_in(folder.path());
  ASSERT_TRUE(blocking::create(*c, "/n", "", CreateMode::persistent, soon()));
  // The callback thread may still be at the end of what it did before.
  std::shared_ptr<Written> written;
  ASSERT_TRUE(eventually([&] {
    written = write_here(*c, "/n", "here");
    return written->done && written->by == std::this_thread::get_id();
  }));
  EXPECT_TRUE(written->on_callback_thread);
  EXPECT_FALSE(c->on_callback_thread());
  EXPECT_EQ(blocking::get(*c, "/n", soon())->data, "here");
}

TEST(LocalCoordinator, AWriteOnTheCallingThreadOvertakesNoOther) {
  TemporaryFolder folder;
  auto c = open_in(folder.path());
  ASSERT_TRUE(blocking::create(*c, "/n", "", CreateMode::persistent, soon()));
  std::promise<void> entered, go_on;
  c->run_at(Deadline{}, [&] {
    entered.set_value();
    go_on.get_future().wait();
  });
  entered.get_future().wait();
  const auto meanwhile = write_here(*c, "/n", "meanwhile");
  EXPECT_FALSE(meanwhile->done);
  std::atomic<int> first{0};
  c->set("/n", "first", Expected::any(), soon(), [&](const auto&) { first = 1; });
  const auto second = write_here(*c, "/n", "second");
  EXPECT_FALSE(second->done);
  go_on.set_value();
  ASSERT_TRUE(eventually([&] { return second->done.load(); }));
  EXPECT_NE(second->by, std::this_thread::get_id());
  EXPECT_EQ(first, 1);
  EXPECT_EQ(blocking::get(*c, "/n", soon())->data, "second");
  // Nor one that the callback thread has not begun with.
  for (int i = 0; i < 300; ++i) {
    first = 0;
    c->set("/n", "first", Expected::any(), soon(), [&](const auto&) { first = 1; });
    const auto next = write_here(*c, "/n", "second");
    ASSERT_TRUE(eventually([&] { return next->done.load(); }));
    ASSERT_EQ(first, 1);
  }
}

TEST(LocalCoordinator, AWriteOnTheCallingThreadDoesNotWaitForAnotherWriter) {
  TemporaryFolder folder;
  auto c = open_in(folder.path());
  ASSERT_TRUE(blocking::create(*c, "/n", "", CreateMode::persistent, soon()));
  auto other = LocalStore::open({folder.path(), 600ms, LocalStore::current_boot_id()});
  ASSERT_TRUE(other);
  ASSERT_TRUE(eventually([&] { return (*other)->try_begin().has_value(); }));
  const auto written = write_here(*c, "/n", "later");  // returns, although the lock is held
  EXPECT_FALSE(written->done);
  (*other)->rollback();
  ASSERT_TRUE(eventually([&] { return written->done.load(); }));
  EXPECT_NE(written->by, std::this_thread::get_id());
}

TEST(LocalCoordinator, CallbacksRunOneAtATimeWhoeverRunsThem) {
  constexpr int kThreads = 2, kRounds = 300;
  TemporaryFolder folder;
  auto c = open_in(folder.path());
  ASSERT_TRUE(blocking::create(*c, "/n", "", CreateMode::persistent, soon()));
  std::atomic<bool> inside{false};
  std::atomic<int> overlaps{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      std::atomic<int> answers{0};
      const auto callback = [&] {
        if (inside.exchange(true)) ++overlaps;
        std::this_thread::sleep_for(300us);
        inside = false;
        ++answers;
      };
      for (int n = 1; n <= kRounds; ++n) {
        c->run_at(Deadline{}, callback);  // the thread is being woken for it
        c->multi(
            {SetOp{"/n", "x"}}, soon(), [&](const auto&) { callback(); }, WriteOn::calling_thread);
        while (answers < 2 * n) std::this_thread::yield();
      }
    });
  threads.clear();
  EXPECT_EQ(overlaps, 0);
}

// Watches gather until there is no change for a moment. That moment may never come.
TEST(LocalCoordinator, AWatchIsToldAmidASteadyFlowOfChanges) {
  TemporaryFolder folder;
  auto c = open_in(folder.path());
  ASSERT_TRUE(blocking::create(*c, "/w", "", CreateMode::persistent, soon()));
  auto other = LocalStore::open({folder.path(), 600ms, LocalStore::current_boot_id()});
  ASSERT_TRUE(other && (*other)->open_session(soon()));
  std::jthread flow([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) (*other)->liveness()->announce_change();
  });
  std::atomic<bool> told{false};
  ASSERT_TRUE(blocking::get(*c, "/w", soon(), [&] { told = true; }));
  ASSERT_TRUE(blocking::set(*c, "/w", "new", Expected::any(), soon()));
  EXPECT_TRUE(eventually([&] { return told.load(); }, 10s));
}

TEST(LocalCoordinator, RefusesAStoreThatIsNotItsOwn) {
  TemporaryFolder folder;
  const std::string file = folder.path() + "/directory.sqlite";
  std::ofstream(file) << "not a database, but long enough to be looked at "
                      << std::string(4096, 'x');
  auto opened = LocalCoordinator::open({folder.path(), 600ms, {}});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::corrupt);
  EXPECT_FALSE(LocalCoordinator::open({"", 600ms, {}}));
  EXPECT_FALSE(LocalCoordinator::open({folder.path(), 1ms, {}}));
  EXPECT_FALSE(LocalCoordinator::open({"/proc/nowhere", 600ms, {}}));
}

}  // namespace
}  // namespace godwit::coord
