// SettledWrite against a model of a versioned store whose connection is lost at planted
// moments, among other writers: what it answers must be what happened.
#include "settled_write.h"

#include "record_envelope.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>

namespace godwit::coord {
namespace {

// Records as a store keeps them; the data is in envelopes.
class ModelStore {
 public:
  Result<std::vector<std::int32_t>> apply(const std::vector<WriteOp>& ops) {
    auto copy = records_;
    std::vector<std::int32_t> versions;
    for (const WriteOp& op : ops) {
      const int index = static_cast<int>(versions.size());
      if (const auto* create = std::get_if<CreateOp>(&op)) {
        if (!copy.emplace(create->path, Stored{0, create->data}).second)
          return fail(Errc::node_exists, create->path, index);
        versions.push_back(0);
        continue;
      }
      const std::string& path =
          std::visit([](const auto& any) -> const std::string& { return any.path; }, op);
      const auto found = copy.find(path);
      if (found == copy.end()) return fail(Errc::no_node, path, index);
      const auto matches = [&](const Expected& expected) {
        return expected.number() < 0 || expected.number() == found->second.version;
      };
      if (const auto* set = std::get_if<SetOp>(&op)) {
        if (!matches(set->expected)) return fail(Errc::bad_version, path, index);
        found->second = {found->second.version + 1, set->data};
        versions.push_back(found->second.version);
      } else if (const auto* remove = std::get_if<RemoveOp>(&op)) {
        if (!matches(remove->expected)) return fail(Errc::bad_version, path, index);
        copy.erase(found);
        versions.push_back(0);
      } else {
        if (!matches(std::get<CheckOp>(op).expected)) return fail(Errc::bad_version, path, index);
        versions.push_back(found->second.version);
      }
    }
    records_ = std::move(copy);
    return versions;
  }
  Result<Record> get(const std::string& path) const {
    const auto found = records_.find(path);
    if (found == records_.end()) return fail(Errc::no_node, path);
    auto unwrapped = unwrap_record(path, found->second.data);
    Record record;
    record.data = std::move(unwrapped->data);
    record.stat.version = found->second.version;
    record.stat.trail = unwrapped->trail;
    return record;
  }

 private:
  struct Stored {
    std::int32_t version;
    std::string data;
  };
  std::map<std::string, Stored> records_;
};

using Step = SettledWrite::Step;
std::uint64_t next_nonce = 1;

// A write that meets no trouble.
Result<std::vector<Stat>> write(ModelStore& store, std::vector<WriteOp> ops) {
  SettledWrite write(std::move(ops), next_nonce++);
  write.issued();
  EXPECT_EQ(write.answered(store.apply(write.ops()), 1), Step::finished);
  return write.take_result();
}

// The steps after a loss, with a connection that works from now on.
Result<std::vector<Stat>> settle(ModelStore& store, SettledWrite& write, Step step) {
  for (int i = 0; step != Step::finished; ++i) {
    EXPECT_LT(i, 10);
    if (step == Step::issue) {
      write.issued();
      step = write.answered(store.apply(write.ops()), 1);
    } else {
      step = write.witnessed(store.get(write.witness()));
    }
  }
  return write.take_result();
}

TEST(SettledWrite, ALostAnswerOfASetThatHappenedIsOk) {
  ModelStore store;
  ASSERT_TRUE(write(store, {CreateOp{"/a", "0"}}));
  SettledWrite set({SetOp{"/a", "1", store.get("/a")->stat}}, next_nonce++);
  set.issued();
  ASSERT_TRUE(store.apply(set.ops()));
  auto result = settle(store, set, set.lost(false));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->front().version, 1);
  EXPECT_EQ(store.get("/a")->stat.version, 1);  // and not again
}

TEST(SettledWrite, ALostRequestIsIssuedAgain) {
  ModelStore store;
  ASSERT_TRUE(write(store, {CreateOp{"/a", "0"}}));
  SettledWrite set({SetOp{"/a", "1", store.get("/a")->stat}}, next_nonce++);
  set.issued();
  auto result = settle(store, set, set.lost(false));
  ASSERT_TRUE(result);
  EXPECT_EQ(store.get("/a")->data, "1");
}

TEST(SettledWrite, AWriteOverwrittenByOthersIsStillRecognised) {
  for (const bool happened : {true, false}) {
    ModelStore store;
    ASSERT_TRUE(write(store, {CreateOp{"/a", "0"}}));
    const Stat before = store.get("/a")->stat;
    SettledWrite set({SetOp{"/a", "mine", before}}, next_nonce++);
    set.issued();
    if (happened) {
      ASSERT_TRUE(store.apply(set.ops()));
    }
    const Step step = set.lost(false);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(write(store, {SetOp{"/a", "theirs", store.get("/a")->stat}}));
    }
    auto result = settle(store, set, step);
    EXPECT_EQ(result.has_value(), happened);
    if (result) {
      EXPECT_EQ(result->front().version, 1);
    } else {
      EXPECT_EQ(result.error().code, Errc::bad_version);
    }
    EXPECT_EQ(store.get("/a")->data, "theirs");
  }
}

TEST(SettledWrite, WhatTheTrailNoLongerTellsIsSaidToBeUnknown) {
  ModelStore store;
  ASSERT_TRUE(write(store, {CreateOp{"/a", "0"}}));
  SettledWrite set({SetOp{"/a", "mine", store.get("/a")->stat}}, next_nonce++);
  set.issued();
  ASSERT_TRUE(store.apply(set.ops()));
  const Step step = set.lost(false);
  ASSERT_TRUE(write(store, {SetOp{"/a", "blind", Expected::any()}}));
  auto result = settle(store, set, step);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::outcome_unknown);
}

TEST(SettledWrite, ARecordMadeAnewIsNotTakenForTheOldOne) {
  ModelStore store;
  ASSERT_TRUE(write(store, {CreateOp{"/a", "0"}}));
  SettledWrite set({SetOp{"/a", "mine", store.get("/a")->stat}}, next_nonce++);
  set.issued();
  ASSERT_TRUE(store.apply(set.ops()));
  const Step step = set.lost(false);
  // The same version number, another record.
  ASSERT_TRUE(write(store, {RemoveOp{"/a", Expected::any()}}));
  ASSERT_TRUE(write(store, {CreateOp{"/a", "new"}}));
  auto result = settle(store, set, step);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::outcome_unknown);
  EXPECT_EQ(store.get("/a")->data, "new");
}

TEST(SettledWrite, CreatesAreToldFromThoseOfOthers) {
  for (const bool happened : {true, false}) {
    ModelStore store;
    SettledWrite create({CreateOp{"/a", "mine"}}, next_nonce++);
    create.issued();
    if (happened) {
      ASSERT_TRUE(store.apply(create.ops()));
    } else {
      ASSERT_TRUE(write(store, {CreateOp{"/a", "theirs"}}));
    }
    auto result = settle(store, create, create.lost(false));
    EXPECT_EQ(result.has_value(), happened);
    if (!result) {
      EXPECT_EQ(result.error().code, Errc::node_exists);
    }
  }
}

TEST(SettledWrite, AnEphemeralOfAnEndedSessionIsNotMadeAgain) {
  SettledWrite create({CreateOp{"/e", "", CreateMode::ephemeral}}, next_nonce++);
  create.issued();
  ASSERT_EQ(create.lost(/*session_ended=*/true), Step::finished);
  EXPECT_EQ(create.take_result().error().code, Errc::session_expired);
}

TEST(SettledWrite, ARemoveThatFindsNothingAfterALossIsOk) {
  ModelStore store;
  ASSERT_TRUE(write(store, {CreateOp{"/a", ""}}));
  SettledWrite remove({RemoveOp{"/a", Expected::any()}}, next_nonce++);
  remove.issued();
  ASSERT_TRUE(store.apply(remove.ops()));
  EXPECT_TRUE(settle(store, remove, remove.lost(false)));
  // Without a loss it is an error.
  EXPECT_EQ(write(store, {RemoveOp{"/a", Expected::any()}}).error().code, Errc::no_node);
}

// Many writers increment two counters by compare-and-set multis, and lose requests,
// answers and reads at random; also the re-issued ones. The counters must end at the
// number of increments that were answered ok, give or take those answered "unknown",
// of which there are none as long as everybody keeps the trail.
TEST(SettledWrite, NoScheduleOfLossesLosesOrDoublesAWrite) {
  constexpr std::uint64_t kSchedules = 5'000;
  std::uint64_t settled = 0;
  for (std::uint64_t seed = 1; seed <= kSchedules; ++seed) {
    std::mt19937_64 random(seed);
    const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
    ModelStore store;
    ASSERT_TRUE(write(store, {CreateOp{"/a", ""}, CreateOp{"/b", ""}}));
    struct Writer {
      std::optional<SettledWrite> write;
      Step step = Step::finished;
    };
    std::vector<Writer> writers(3);
    int ok = 0;
    int busy = 0;
    int left = 7;  // so that the trail always reaches back far enough
    for (int turn = 0; turn < 10'000 && (left > 0 || busy > 0); ++turn) {
      Writer& w = writers[random() % writers.size()];
      if (!w.write) {
        if (left > 0) {
          --left;
          ++busy;
          w.write.emplace(std::vector<WriteOp>{SetOp{"/a", "", store.get("/a")->stat},
                                               SetOp{"/b", "", store.get("/b")->stat}},
                          next_nonce++);
          w.step = Step::issue;
        }
        continue;
      }
      if (w.step == Step::issue) {
        w.write->issued();
        if (chance(20)) {
          w.step = w.write->lost(false);  // the request
        } else {
          auto answer = store.apply(w.write->ops());
          const bool lost = chance(30);
          settled += lost && answer.has_value();
          w.step = lost ? w.write->lost(false) : w.write->answered(std::move(answer), 1);
        }
      } else if (w.step == Step::verify) {
        w.step =
            chance(20) ? w.write->lost(false) : w.write->witnessed(store.get(w.write->witness()));
      }
      if (w.step == Step::finished) {
        const auto result = w.write->take_result();
        if (result) {
          ++ok;
        } else {
          ASSERT_EQ(result.error().code, Errc::bad_version) << "seed " << seed;
        }
        w.write.reset();
        --busy;
      }
    }
    for (const Writer& w : writers) ASSERT_FALSE(w.write) << "seed " << seed;
    ASSERT_EQ(store.get("/a")->stat.version, ok) << "seed " << seed;
    ASSERT_EQ(store.get("/b")->stat.version, ok) << "seed " << seed;
  }
  EXPECT_GT(settled, kSchedules);  // the losses that matter did occur
}

TEST(RecordEnvelope, RefusesWhatItDidNotWrite) {
  const std::string good = wrap_record(extend_trail(5, extend_trail(4, {})), "data");
  auto read = unwrap_record("/p", good);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->data, "data");
  EXPECT_EQ(read->trail.count, 2);
  EXPECT_EQ(read->trail.nonces[0], 5U);
  for (std::size_t size = 1; size < good.size() - 4; ++size)
    EXPECT_FALSE(unwrap_record("/p", good.substr(0, size))) << size;
  for (const std::size_t byte : {0, 1, 2}) {
    std::string bad = good;
    bad[byte] = '\x7f';
    EXPECT_EQ(unwrap_record("/p", bad).error().code, Errc::corrupt);
  }
}

}  // namespace
}  // namespace godwit::coord
