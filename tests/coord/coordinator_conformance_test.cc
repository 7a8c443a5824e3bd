// What every Coordinator promises, over each implementation.
#include "coord/backend.h"
#include "coord/participant_process.h"

#include <gmock/gmock.h>
#include <godwit/coord/blocking.h>
#include <gtest/gtest.h>

#include <signal.h>

#include <atomic>
#include <future>
#include <thread>

namespace godwit::coord {
namespace {

using namespace std::chrono_literals;
using ::testing::UnorderedElementsAre;

class CoordinatorConformance : public ::testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override {
    backend_ = GetParam().make();
    if (!backend_->skip_reason.empty()) GTEST_SKIP() << backend_->skip_reason;
  }
  // After the forks of a test.
  Coordinator& open() {
    coordinators_.push_back(backend_->open());
    if (coordinators_.back() == nullptr) std::abort();  // nothing can be tested
    return *coordinators_.back();
  }

  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Coordinator>> coordinators_;
};

template <typename T>
Errc code_of(const Result<T>& result) {
  EXPECT_FALSE(result.has_value()) << "succeeded, but must not";
  return result ? Errc::closed : result.error().code;
}

Result<Stat> make(Coordinator& on, const std::string& path, const std::string& data = "") {
  return blocking::create(on, path, data, CreateMode::persistent, soon());
}

// A watcher that counts its calls.
struct Calls {
  std::shared_ptr<std::atomic<int>> count = std::make_shared<std::atomic<int>>(0);
  Watcher watcher() const {
    return [count = count] { ++*count; };
  }
  bool reach(int number) const {
    return eventually([&] { return *count >= number; });
  }
};

TEST_P(CoordinatorConformance, WritesAreVersioned) {
  Coordinator& c = open();
  const std::string odd("\0\xff\n", 3);
  auto made = make(c, "/a", odd);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->version, 0);
  EXPECT_EQ(code_of(make(c, "/a")), Errc::node_exists);

  auto read = blocking::get(c, "/a", soon());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->data, odd);
  EXPECT_EQ(read->stat.version, 0);
  EXPECT_EQ(read->stat.ephemeral_owner, 0U);
  const auto created = read->stat.created;
  EXPECT_NE(created, 0U);

  auto set = blocking::set(c, "/a", "one", read->stat, soon());
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ(set->version, 1);
  EXPECT_EQ(code_of(blocking::set(c, "/a", "late", read->stat, soon())), Errc::bad_version);
  set = blocking::set(c, "/a", "two", Expected::any(), soon());
  ASSERT_TRUE(set);
  EXPECT_EQ(set->version, 2);
  read = blocking::get(c, "/a", soon());
  EXPECT_EQ(read->data, "two");
  EXPECT_EQ(read->stat.created, created);

  EXPECT_EQ(code_of(blocking::remove(c, "/a", Expected::version(1), soon())), Errc::bad_version);
  EXPECT_TRUE(blocking::remove(c, "/a", Expected::version(2), soon()));
  EXPECT_EQ(code_of(blocking::get(c, "/a", soon())), Errc::no_node);
  EXPECT_EQ(code_of(blocking::set(c, "/a", "", Expected::any(), soon())), Errc::no_node);
  EXPECT_EQ(code_of(blocking::remove(c, "/a", Expected::any(), soon())), Errc::no_node);

  // Versions start again, but the creation differs.
  ASSERT_TRUE(make(c, "/a"));
  read = blocking::get(c, "/a", soon());
  EXPECT_EQ(read->stat.version, 0);
  EXPECT_NE(read->stat.created, created);
}

TEST_P(CoordinatorConformance, PathsFormATree) {
  Coordinator& c = open();
  EXPECT_EQ(code_of(make(c, "/a/b")), Errc::no_node);
  ASSERT_TRUE(blocking::ensure_path(c, "/a/b/c", soon()));
  ASSERT_TRUE(blocking::ensure_path(c, "/a/b/c", soon()));
  ASSERT_TRUE(make(c, "/a/b/d%2F"));
  ASSERT_TRUE(make(c, "/a/bc"));  // no child of /a/b
  auto children = blocking::list(c, "/a/b", soon());
  ASSERT_TRUE(children);
  EXPECT_THAT(children->names, UnorderedElementsAre("c", "d%2F"));
  EXPECT_EQ(children->stat.children, 2);
  EXPECT_EQ(code_of(blocking::remove(c, "/a/b", Expected::any(), soon())), Errc::not_empty);
  EXPECT_EQ(code_of(blocking::list(c, "/a/x", soon())), Errc::no_node);
  ASSERT_TRUE(blocking::create(c, "/a/e", "", CreateMode::ephemeral, soon()));
  EXPECT_EQ(code_of(make(c, "/a/e/f")), Errc::no_children_for);
}

TEST_P(CoordinatorConformance, AMultiHappensWholeOrNotAtAll) {
  Coordinator& c = open();
  ASSERT_TRUE(make(c, "/a", "0"));
  ASSERT_TRUE(make(c, "/gone"));
  auto done = blocking::multi(
      c,
      {CheckOp{"/a", Expected::version(0)}, CreateOp{"/p", "parent"}, CreateOp{"/p/q", "child"},
       SetOp{"/a", "1", Expected::version(0)}, RemoveOp{"/gone", Expected::any()}},
      soon());
  ASSERT_TRUE(done) << done.error().message;
  ASSERT_EQ(done->size(), 5U);
  EXPECT_EQ((*done)[3].version, 1);
  EXPECT_EQ(blocking::get(c, "/p/q", soon())->data, "child");
  EXPECT_EQ(code_of(blocking::get(c, "/gone", soon())), Errc::no_node);

  // Each op fails in turn, at the end of one that would work; nothing of it stays.
  const std::vector<std::pair<WriteOp, Errc>> failures = {
      {CheckOp{"/a", Expected::version(0)}, Errc::bad_version},
      {CheckOp{"/none", Expected::any()}, Errc::no_node},
      {CreateOp{"/p", ""}, Errc::node_exists},
      {CreateOp{"/none/x", ""}, Errc::no_node},
      {SetOp{"/a", "", Expected::version(7)}, Errc::bad_version},
      {RemoveOp{"/p", Expected::any()}, Errc::not_empty},
  };
  for (const auto& [op, code] : failures) {
    auto failed = blocking::multi(
        c, {CreateOp{"/new", ""}, SetOp{"/a", "2", Expected::version(1)}, op}, soon());
    EXPECT_EQ(code_of(failed), code);
    EXPECT_EQ(failed.error().failed_op, 2);
    EXPECT_EQ(code_of(blocking::get(c, "/new", soon())), Errc::no_node);
    EXPECT_EQ(blocking::get(c, "/a", soon())->stat.version, 1);
  }
  EXPECT_EQ(blocking::list(c, "/p", soon())->names.size(), 1U);
}

TEST_P(CoordinatorConformance, EphemeralsGoWithTheirSession) {
  Coordinator& keeper = open();
  Coordinator& leaver = open();
  ASSERT_NE(keeper.session_id(), leaver.session_id());
  ASSERT_TRUE(make(keeper, "/d"));
  auto made = blocking::create(leaver, "/d/e", "x", CreateMode::ephemeral, soon());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->ephemeral_owner, leaver.session_id());
  ASSERT_TRUE(make(leaver, "/d/p"));
  Calls gone;
  auto read = blocking::get(keeper, "/d/e", soon(), gone.watcher());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->stat.ephemeral_owner, leaver.session_id());
  leaver.close();
  EXPECT_TRUE(gone.reach(1));
  EXPECT_EQ(code_of(blocking::get(keeper, "/d/e", soon())), Errc::no_node);
  EXPECT_TRUE(blocking::get(keeper, "/d/p", soon()));
}

TEST_P(CoordinatorConformance, EphemeralsGoWithAKilledProcess) {
  ParticipantProcess other(*backend_, [](Coordinator& c, const auto& report) {
    const bool made = blocking::create(c, "/e", "", CreateMode::ephemeral, soon()).has_value();
    report(made ? '+' : '-');
  });
  Coordinator& c = open();
  other.start();
  ASSERT_TRUE(other.wait_report('+'));
  Calls gone;
  ASSERT_TRUE(blocking::get(c, "/e", soon(), gone.watcher()));
  other.kill_and_wait();
  const auto killed = std::chrono::steady_clock::now();
  EXPECT_TRUE(gone.reach(1));
  EXPECT_EQ(code_of(blocking::get(c, "/e", soon())), Errc::no_node);
  // Twice the time-out, and the rounding of ZooKeeper's ticks.
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 2 * backend_->session_timeout() + 2s);
}

TEST_P(CoordinatorConformance, AStoppedProcessLosesItsSessionAndLearnsIt) {
  ParticipantProcess other(*backend_, [](Coordinator& c, const auto& report) {
    const bool made = blocking::create(c, "/e", "", CreateMode::ephemeral, soon()).has_value();
    report(made ? '+' : '-');
  });
  Coordinator& c = open();
  other.start();
  ASSERT_TRUE(other.wait_report('+'));
  const SessionId before = blocking::get(c, "/e", soon())->stat.ephemeral_owner;
  EXPECT_NE(before, 0U);
  other.signal(SIGSTOP);
  EXPECT_TRUE(eventually([&] {
    const auto read = blocking::get(c, "/e", soon());
    return !read && read.error().code == Errc::no_node;
  }));
  other.signal(SIGCONT);
  EXPECT_TRUE(other.wait_report('x'));
  EXPECT_TRUE(other.wait_report('c'));  // a new session, by itself
}

TEST_P(CoordinatorConformance, WatchersAreCalledOnceForWhatTheyWatch) {
  Coordinator& c = open();
  Coordinator& other = open();
  ASSERT_TRUE(make(c, "/w"));
  ASSERT_TRUE(make(c, "/w/sibling"));
  Calls data;
  Calls absent;
  Calls children;
  Calls absent_children;
  ASSERT_TRUE(blocking::get(c, "/w", soon(), data.watcher()));
  EXPECT_EQ(code_of(blocking::get(c, "/w/x", soon(), absent.watcher())), Errc::no_node);
  EXPECT_EQ(code_of(blocking::list(c, "/w/y", soon(), absent_children.watcher())), Errc::no_node);
  ASSERT_TRUE(blocking::list(c, "/w", soon(), children.watcher()));

  // What concerns none of them, then a marker that proves it was seen.
  Calls marker;
  ASSERT_TRUE(blocking::get(c, "/w/sibling", soon(), marker.watcher()));
  ASSERT_TRUE(blocking::set(other, "/w/sibling", "1", Expected::any(), soon()));
  ASSERT_TRUE(marker.reach(1));
  EXPECT_EQ(*data.count + *absent.count + *children.count + *absent_children.count, 0);

  ASSERT_TRUE(blocking::set(other, "/w", "1", Expected::any(), soon()));
  EXPECT_TRUE(data.reach(1));
  ASSERT_TRUE(make(other, "/w/x"));
  EXPECT_TRUE(absent.reach(1));
  EXPECT_TRUE(children.reach(1));
  ASSERT_TRUE(make(other, "/w/y"));
  EXPECT_TRUE(absent_children.reach(1));

  // One-shot: many more changes, no more calls.
  Calls last;
  ASSERT_TRUE(blocking::get(c, "/w/sibling", soon(), last.watcher()));
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(blocking::set(other, "/w", "more", Expected::any(), soon()));
    ASSERT_TRUE(make(other, "/w/z" + std::to_string(i)));
  }
  ASSERT_TRUE(blocking::set(other, "/w/sibling", "2", Expected::any(), soon()));
  ASSERT_TRUE(last.reach(1));
  EXPECT_EQ(*data.count, 1);
  EXPECT_EQ(*absent.count, 1);
  EXPECT_EQ(*children.count, 1);
  EXPECT_EQ(*absent_children.count, 1);
}

TEST_P(CoordinatorConformance, WatchersSeeRemovals) {
  Coordinator& c = open();
  Coordinator& other = open();
  ASSERT_TRUE(blocking::ensure_path(c, "/r/branch/leaf", soon()));
  Calls leaf;
  Calls branch_children;
  Calls own;
  ASSERT_TRUE(blocking::get(c, "/r/branch/leaf", soon(), leaf.watcher()));
  ASSERT_TRUE(blocking::list(c, "/r/branch/leaf", soon(), branch_children.watcher()));
  // A whole branch in one go: nothing of it is left to tell.
  ASSERT_TRUE(blocking::multi(
      other, {RemoveOp{"/r/branch/leaf", Expected::any()}, RemoveOp{"/r/branch", Expected::any()}},
      soon()));
  EXPECT_TRUE(leaf.reach(1));
  EXPECT_TRUE(branch_children.reach(1));
  // The coordinator's own changes are changes too.
  ASSERT_TRUE(blocking::get(c, "/r", soon(), own.watcher()));
  ASSERT_TRUE(blocking::remove(c, "/r", Expected::any(), soon()));
  EXPECT_TRUE(own.reach(1));
}

TEST_P(CoordinatorConformance, OfRacingWritersExactlyOneWins) {
  Coordinator& setup = open();
  ASSERT_TRUE(make(setup, "/race", ""));
  constexpr int kRounds = 100;
  std::atomic<int> wins{0};
  std::atomic<int> others{0};
  std::vector<Coordinator*> racers = {&open(), &open()};
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::future<Result<Stat>>> results;
    for (Coordinator* racer : racers) {
      auto promise = std::make_shared<std::promise<Result<Stat>>>();
      results.push_back(promise->get_future());
      racer->set("/race", "mine", Expected::version(round), soon(),
                 [promise](Result<Stat> result) { promise->set_value(std::move(result)); });
    }
    for (auto& future : results) {
      const auto result = future.get();
      if (result) {
        ++wins;
        EXPECT_EQ(result->version, round + 1);
      } else {
        ++others;
        EXPECT_EQ(result.error().code, Errc::bad_version);
      }
    }
  }
  EXPECT_EQ(wins, kRounds);
  EXPECT_EQ(others, kRounds);
  EXPECT_EQ(blocking::get(setup, "/race", soon())->stat.version, kRounds);
}

TEST_P(CoordinatorConformance, TenThousandCreatesArePipelined) {
  Coordinator& c = open();
  ASSERT_TRUE(make(c, "/many"));
  constexpr int kCount = 10'000;
  std::atomic<int> ok{0};
  std::atomic<int> failed{0};
  std::promise<void> all;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kCount; ++i)
    c.create("/many/" + std::to_string(i), "data", CreateMode::persistent, after(60s),
             [&](Result<Stat> result) {
               EXPECT_TRUE(c.on_callback_thread());
               result ? ++ok : ++failed;
               if (ok + failed == kCount) all.set_value();
             });
  ASSERT_EQ(all.get_future().wait_for(70s), std::future_status::ready);
  const auto time = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(ok, kCount);
  EXPECT_EQ(blocking::list(c, "/many", soon())->names.size(), std::size_t{kCount});
  std::cout << kCount << " creates in "
            << std::chrono::duration_cast<std::chrono::milliseconds>(time).count() << " ms\n";
}

TEST_P(CoordinatorConformance, BadArgumentsAreRefusedWithAReason) {
  Coordinator& c = open();
  for (const char* path :
       {"", "a", "/", "//", "/a/", "/a//b", "/.", "/a/../b", "/a\n", "/\xc3\xa9"}) {
    auto result = make(c, path);
    EXPECT_EQ(code_of(result), Errc::bad_argument) << path;
    EXPECT_NE(result.error().message, "");
  }
  EXPECT_EQ(code_of(blocking::get(c, "x", soon())), Errc::bad_argument);
  EXPECT_EQ(code_of(blocking::list(c, "/x/", soon())), Errc::bad_argument);
  EXPECT_EQ(code_of(make(c, "/" + std::string(kMaxPathBytes, 'a'))), Errc::bad_argument);
  EXPECT_TRUE(make(c, "/" + std::string(kMaxPathBytes - 1, 'a')));
  EXPECT_EQ(code_of(make(c, "/big", std::string(kMaxRecordBytes + 1, 'x'))), Errc::bad_argument);
  const std::string big(kMaxRecordBytes, 'x');
  EXPECT_TRUE(make(c, "/big", big));
  EXPECT_EQ(blocking::get(c, "/big", soon())->data, big);
  EXPECT_EQ(code_of(blocking::multi(c, {}, soon())), Errc::bad_argument);
  std::vector<WriteOp> ops(kMaxMultiOps + 1, CheckOp{"/big", Expected::any()});
  EXPECT_EQ(code_of(blocking::multi(c, ops, soon())), Errc::bad_argument);
  ops.pop_back();
  EXPECT_TRUE(blocking::multi(c, ops, soon()));
  ops.assign(9, SetOp{"/big", big, Expected::any()});
  EXPECT_EQ(code_of(blocking::multi(c, ops, soon())), Errc::bad_argument);
  ops.resize(7);
  EXPECT_TRUE(blocking::multi(c, ops, soon()));
}

TEST_P(CoordinatorConformance, DeadlinesAndCloseAnswerEverything) {
  Coordinator& c = open();
  EXPECT_EQ(code_of(blocking::create(c, "/late", "", CreateMode::persistent, after(-1s))),
            Errc::unavailable);
  EXPECT_EQ(code_of(blocking::get(c, "/late", soon())), Errc::no_node);
  EXPECT_EQ(code_of(blocking::get(c, "/late", after(-1s))), Errc::unavailable);

  std::atomic<int> answers{0};
  constexpr int kCount = 2000;
  for (int i = 0; i < kCount; ++i)
    c.create("/closing" + std::to_string(i), "", CreateMode::persistent, soon(),
             [&](const Result<Stat>&) {
               // Submitting again from a callback is fine, also while it closes.
               c.get("/x", soon(), [&](const Result<Record>&) { ++answers; });
             });
  c.close();
  EXPECT_EQ(answers, kCount);
  EXPECT_EQ(code_of(make(c, "/after")), Errc::closed);
  EXPECT_EQ(c.session_id(), 0U);
  c.close();
}

INSTANTIATE_TEST_SUITE_P(Local, CoordinatorConformance,
                         ::testing::Values(BackendKind{"Local", make_local_backend}));
INSTANTIATE_TEST_SUITE_P(RealZooKeeper, CoordinatorConformance,
                         ::testing::Values(BackendKind{"ZooKeeper", make_zookeeper_backend}));

}  // namespace
}  // namespace godwit::coord
