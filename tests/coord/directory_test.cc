// The directory's records and their transitions, over each Coordinator.
#include "coord/backend.h"

#include <gmock/gmock.h>
#include <godwit/coord/blocking.h>
#include <godwit/coord/directory.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <set>

namespace godwit::coord {
namespace {

using namespace std::chrono_literals;

class DirectoryTest : public ::testing::TestWithParam<BackendKind> {
 protected:
  // An agent: a coordinator and the directory over it.
  struct Agent {
    std::unique_ptr<Coordinator> coordinator;
    std::unique_ptr<Directory> directory;
    ~Agent() {
      if (coordinator) coordinator->close();
    }
  };

  void SetUp() override {
    backend_ = GetParam().make();
    if (!backend_->skip_reason.empty()) GTEST_SKIP() << backend_->skip_reason;
    first_ = add_agent();
    ASSERT_TRUE(wait<void>([&](auto done) { d().prepare(soon(), done); }));
  }
  Agent& add_agent() {
    auto agent = std::make_unique<Agent>();
    agent->coordinator = backend_->open();
    if (agent->coordinator == nullptr) std::abort();
    agent->directory = std::make_unique<Directory>(*agent->coordinator);
    agents_.push_back(std::move(agent));
    return *agents_.back();
  }
  struct AgentRef {
    Agent* agent = nullptr;
    AgentRef& operator=(Agent& to) {
      agent = &to;
      return *this;
    }
  };
  Directory& d() { return *first_.agent->directory; }

  template <typename T>
  Result<T> wait(const std::function<void(Callback<T>)>& start) {
    return blocking::wait<T>(*first_.agent->coordinator, soon(), start);
  }
  Result<DcEntry> create_dc(const std::string& name, std::uint32_t max_endpoints = 0) {
    DcRequest request;
    request.name = name;
    request.limits.set_max_endpoints(max_endpoints);
    return wait<DcEntry>([&](auto done) { d().create_dc(request, soon(), done); });
  }
  static BindRequest request(const std::string& dc, const std::string& name,
                             std::uint64_t process = 7) {
    BindRequest bind;
    bind.dc = dc;
    bind.name = name;
    bind.owner.set_node("n1");
    bind.owner.set_node_incarnation(1);
    bind.owner.set_process(process);
    bind.engine_address = std::string("addr\0ess", 8);
    return bind;
  }
  Result<EndpointEntry> bind(const std::string& dc, const std::string& name,
                             std::uint64_t process = 7, Directory* directory = nullptr) {
    Directory& on = directory ? *directory : d();
    return wait<EndpointEntry>(
        [&](auto done) { on.bind(request(dc, name, process), soon(), done); });
  }
  Result<EndpointEntry> resolve(const std::string& dc, const std::string& name,
                                Watcher watcher = {}) {
    return wait<EndpointEntry>([&](auto done) { d().resolve(dc, name, soon(), done, watcher); });
  }
  Result<void> unbind(const proto::EndpointRecord& e, const std::string& dc,
                      std::uint64_t process = 7) {
    return wait<void>(
        [&](auto done) { d().unbind(dc, e.slot(), e.generation(), process, soon(), done); });
  }
  Result<void> mark_dead(const proto::EndpointRecord& e, const std::string& dc,
                         std::uint64_t process = 0) {
    return wait<void>(
        [&](auto done) { d().mark_dead(dc, e.slot(), e.generation(), process, soon(), done); });
  }
  static proto::NodeRecord node(const std::string& name, std::uint64_t incarnation) {
    proto::NodeRecord record;
    record.set_name(name);
    record.set_incarnation(incarnation);
    return record;
  }
  Result<NodeEntry> register_on(Directory& on, const std::string& name, std::uint64_t incarnation,
                                std::uint64_t predecessor = 0, Deadline deadline = soon()) {
    return wait<NodeEntry>(
        [&](auto done) { on.register_node(node(name, incarnation), predecessor, deadline, done); });
  }

  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Agent>> agents_;
  AgentRef first_;
};

template <typename T>
Errc code_of(const Result<T>& result) {
  EXPECT_FALSE(result.has_value()) << "succeeded, but must not";
  return result ? Errc::closed : result.error().code;
}

TEST_P(DirectoryTest, NodesComeAndGoWithTheirAgents) {
  auto mine = register_on(d(), "node/1", 11);
  ASSERT_TRUE(mine) << mine.error().message;
  Agent& other = add_agent();
  // Another live agent holds the name.
  EXPECT_EQ(code_of(register_on(*other.directory, "node/1", 22, 0, after(300ms))),
            Errc::node_taken);
  ASSERT_TRUE(register_on(*other.directory, "node2", 22));
  std::atomic<int> changes{0};
  auto nodes = wait<std::vector<NodeEntry>>(
      [&](auto done) { d().list_nodes(soon(), done, [&] { ++changes; }); });
  ASSERT_TRUE(nodes);
  EXPECT_EQ(nodes->size(), 2U);

  mine->record.mutable_load()->set_endpoints(5);
  auto updated = wait<NodeEntry>([&](auto done) { d().update_node(*mine, soon(), done); });
  ASSERT_TRUE(updated);
  EXPECT_EQ(code_of(wait<NodeEntry>([&](auto done) { d().update_node(*mine, soon(), done); })),
            Errc::bad_version);
  auto read = wait<NodeEntry>([&](auto done) { d().get_node("node/1", soon(), done); });
  ASSERT_TRUE(read);
  EXPECT_EQ(read->record.load().endpoints(), 5U);
  EXPECT_EQ(read->stat.ephemeral_owner, first_.agent->coordinator->session_id());
  // Again in the same session, as after a restart of the layer above.
  ASSERT_TRUE(register_on(d(), "node/1", 12));
  EXPECT_EQ(changes, 0);

  // A successor that knows its predecessor need not wait for the session to end.
  Agent& successor = add_agent();
  ASSERT_TRUE(register_on(*successor.directory, "node/1", 13, 12));
  // One that does not know it waits, and gets the name when the holder goes.
  Agent& waiter = add_agent();
  std::promise<Result<NodeEntry>> promised;
  waiter.directory->register_node(node("node2", 33), 0, soon(),
                                  [&](Result<NodeEntry> r) { promised.set_value(std::move(r)); });
  other.coordinator->close();
  auto got = promised.get_future().get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->record.incarnation(), 33U);
  EXPECT_TRUE(eventually([&] { return changes == 1; }));
}

TEST_P(DirectoryTest, DcsAreMadeAndRemoved) {
  auto first = create_dc("demo");
  ASSERT_TRUE(first) << first.error().message;
  auto second = create_dc("ünï/cödé");
  ASSERT_TRUE(second);
  EXPECT_NE(first->record.id(), second->record.id());
  EXPECT_EQ(code_of(create_dc("demo")), Errc::dc_exists);
  for (const std::string& bad :
       {std::string(), std::string("a\nb"), std::string("\xff"), std::string(256, 'a')})
    EXPECT_EQ(code_of(create_dc(bad)), Errc::bad_argument);
  auto all = wait<std::vector<DcEntry>>([&](auto done) { d().list_dcs(soon(), done); });
  ASSERT_TRUE(all);
  EXPECT_EQ(all->size(), 2U);

  auto endpoint = bind("demo", "a");
  ASSERT_TRUE(endpoint) << endpoint.error().message;
  const auto remove = [&] {
    return wait<void>([&](auto done) { d().remove_dc("demo", soon(), done); });
  };
  EXPECT_EQ(code_of(remove()), Errc::dc_in_use);
  ASSERT_TRUE(bind("demo", "b"));  // the refused removal left it usable
  ASSERT_TRUE(unbind(endpoint->record, "demo"));
  ASSERT_TRUE(mark_dead(resolve("demo", "b")->record, "demo"));
  auto removed = remove();
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(code_of(remove()), Errc::dc_unknown);
  EXPECT_EQ(code_of(bind("demo", "a")), Errc::dc_unknown);
  EXPECT_EQ(code_of(resolve("demo", "a")), Errc::dc_unknown);
  // Another DC of that name is another DC, also for what this agent remembers of it.
  auto again = create_dc("demo");
  ASSERT_TRUE(again);
  EXPECT_GT(again->record.id(), second->record.id());
  auto fresh = bind("demo", "a");
  ASSERT_TRUE(fresh) << fresh.error().message;
  EXPECT_EQ(fresh->record.dc(), again->record.id());
  EXPECT_EQ(fresh->record.generation(), 1U);
}

TEST_P(DirectoryTest, AgentsTakeDisjointSlotsWithinTheLimit) {
  ASSERT_TRUE(create_dc("small", kSlotBlock + 10));
  Agent& other = add_agent();
  const auto reserve = [&](Directory& on) {
    return wait<SlotRange>([&](auto done) { on.reserve_slots("small", kSlotBlock, soon(), done); });
  };
  auto a = reserve(d());
  auto b = reserve(*other.directory);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->first + a->count, b->first);
  EXPECT_EQ(b->count, 10U);
  EXPECT_EQ(code_of(reserve(d())), Errc::limit_exceeded);
  EXPECT_EQ(code_of(bind("small", "x")), Errc::limit_exceeded);
}

TEST_P(DirectoryTest, AnEndpointLivesThroughItsStates) {
  ASSERT_TRUE(create_dc("demo"));
  std::atomic<int> appeared{0};
  EXPECT_EQ(code_of(resolve("demo", "web/fs", [&] { ++appeared; })), Errc::name_unknown);
  auto bound = bind("demo", "web/fs");
  ASSERT_TRUE(bound) << bound.error().message;
  EXPECT_TRUE(eventually([&] { return appeared == 1; }));
  const auto& e = bound->record;
  EXPECT_EQ(e.generation(), 1U);
  EXPECT_EQ(e.epoch(), 1U);
  EXPECT_NE(e.lineage(), 0U);
  EXPECT_EQ(e.state(), proto::SERVING);
  EXPECT_EQ(code_of(bind("demo", "web/fs", 8)), Errc::name_taken);

  std::atomic<int> changed{0};
  auto found = resolve("demo", "web/fs", [&] { ++changed; });
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->record.slot(), e.slot());
  EXPECT_EQ(found->record.engine_address(), std::string("addr\0ess", 8));

  // A step of a move: only from the version that was read, only with the fence standing.
  auto target = register_on(d(), "n2", 5);
  ASSERT_TRUE(target);
  auto moving = *found;
  moving.record.set_state(proto::MOVING);
  auto moved = wait<EndpointEntry>([&](auto done) {
    d().update_endpoint("demo", moving, Directory::NodeFence{"n2", 5}, soon(), done);
  });
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_TRUE(eventually([&] { return changed == 1; }));
  EXPECT_EQ(code_of(wait<EndpointEntry>([&](auto done) {
              d().update_endpoint("demo", moving, std::nullopt, soon(), done);
            })),
            Errc::bad_version);
  EXPECT_EQ(code_of(unbind(e, "demo")), Errc::endpoint_stale);
  ASSERT_TRUE(wait<void>([&](auto done) { d().unregister_node(*target, soon(), done); }));
  auto fenced = wait<EndpointEntry>([&](auto done) {
    d().update_endpoint("demo", *moved, Directory::NodeFence{"n2", 5}, soon(), done);
  });
  EXPECT_EQ(code_of(fenced), Errc::no_node);
  EXPECT_EQ(fenced.error().failed_op, 0);
  moved->record.set_state(proto::SERVING);
  moved->record.set_epoch(2);
  ASSERT_TRUE(wait<EndpointEntry>(
      [&](auto done) { d().update_endpoint("demo", *moved, std::nullopt, soon(), done); }));

  // Unbind and bind again: the slot comes back with a higher generation.
  EXPECT_EQ(code_of(unbind(e, "demo", 99)), Errc::endpoint_stale);
  ASSERT_TRUE(unbind(e, "demo"));
  ASSERT_TRUE(unbind(e, "demo"));
  EXPECT_EQ(code_of(resolve("demo", "web/fs")), Errc::name_unknown);
  std::set<std::uint32_t> slots;
  std::optional<proto::EndpointRecord> again;
  for (std::uint32_t i = 0; i < kSlotBlock && !again; ++i) {
    auto next = bind("demo", "");
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_TRUE(slots.insert(next->record.slot()).second);
    if (next->record.slot() == e.slot()) again = next->record;
  }
  ASSERT_TRUE(again);
  EXPECT_EQ(again->generation(), 2U);
  EXPECT_NE(again->lineage(), e.lineage());
  EXPECT_EQ(code_of(unbind(e, "demo")), Errc::endpoint_stale);  // the old id
  EXPECT_EQ(code_of(mark_dead(e, "demo")), Errc::endpoint_stale);
}

TEST_P(DirectoryTest, ADeadOwnersNameIsTakenOver) {
  ASSERT_TRUE(create_dc("demo"));
  auto first = bind("demo", "svc", 7);
  ASSERT_TRUE(first);
  EXPECT_EQ(code_of(mark_dead(first->record, "demo", 99)), Errc::endpoint_stale);
  ASSERT_TRUE(mark_dead(first->record, "demo", 7));
  ASSERT_TRUE(mark_dead(first->record, "demo", 7));
  EXPECT_EQ(resolve("demo", "svc")->record.state(), proto::DEAD);
  // Two agents race for it; one gets it.
  Agent& other = add_agent();
  std::promise<Result<EndpointEntry>> a;
  std::promise<Result<EndpointEntry>> b;
  d().bind(request("demo", "svc", 8), soon(), [&](auto r) { a.set_value(std::move(r)); });
  other.directory->bind(request("demo", "svc", 9), soon(),
                        [&](auto r) { b.set_value(std::move(r)); });
  auto got_a = a.get_future().get();
  auto got_b = b.get_future().get();
  ASSERT_NE(got_a.has_value(), got_b.has_value());
  EXPECT_EQ(code_of(got_a ? got_b : got_a), Errc::name_taken);
  auto& winner = got_a ? *got_a : *got_b;
  EXPECT_EQ(winner.record.slot(), first->record.slot());
  EXPECT_EQ(winner.record.generation(), 2U);
  EXPECT_NE(winner.record.lineage(), first->record.lineage());
  EXPECT_EQ(resolve("demo", "svc")->record.owner().process(), winner.record.owner().process());
}

TEST_P(DirectoryTest, ThousandsOfBindsArePipelinedAndListed) {
  ASSERT_TRUE(create_dc("demo"));
  constexpr int kCount = 3000;  // more than two blocks of slots
  std::atomic<int> answered{0};
  std::atomic<int> ok{0};
  std::promise<void> all;
  for (int i = 0; i < kCount; ++i)
    d().bind(request("demo", i % 2 == 0 ? "name/" + std::to_string(i) : ""), after(60s),
             [&](Result<EndpointEntry> bound) {
               if (bound) ++ok;
               if (++answered == kCount) all.set_value();
             });
  ASSERT_EQ(all.get_future().wait_for(70s), std::future_status::ready);
  EXPECT_EQ(ok, kCount);
  auto endpoints = wait<std::vector<EndpointEntry>>(
      [&](auto done) { d().list_endpoints("demo", soon(), done); });
  ASSERT_TRUE(endpoints);
  std::set<std::uint32_t> slots;
  for (const auto& endpoint : *endpoints) slots.insert(endpoint.record.slot());
  EXPECT_EQ(slots.size(), std::size_t{kCount});
  auto names =
      wait<std::vector<NameEntry>>([&](auto done) { d().list_names("demo", soon(), done); });
  ASSERT_TRUE(names);
  EXPECT_EQ(names->size(), std::size_t{kCount / 2});
  EXPECT_TRUE(resolve("demo", "name/2998"));
  EXPECT_EQ(code_of(wait<std::vector<NameEntry>>(
                [&](auto done) { d().list_names("none", soon(), done); })),
            Errc::dc_unknown);
}

TEST_P(DirectoryTest, AForeignRecordIsAnErrorNotAGuess) {
  ASSERT_TRUE(create_dc("demo"));
  proto::DcRecord newer;
  newer.set_schema(kDirectorySchema + 1);
  auto& c = *first_.agent->coordinator;
  const std::string path = "/godwit/dcs/demo";
  ASSERT_TRUE(blocking::set(c, path, newer.SerializeAsString(), Expected::any(), soon()));
  EXPECT_EQ(code_of(bind("demo", "x")), Errc::corrupt);
  ASSERT_TRUE(blocking::set(c, path, "\xff\xff\xff", Expected::any(), soon()));
  EXPECT_EQ(code_of(wait<DcEntry>([&](auto done) { d().get_dc("demo", soon(), done); })),
            Errc::corrupt);
}

INSTANTIATE_TEST_SUITE_P(Local, DirectoryTest,
                         ::testing::Values(BackendKind{"Local", make_local_backend}));
INSTANTIATE_TEST_SUITE_P(RealZooKeeper, DirectoryTest,
                         ::testing::Values(BackendKind{"ZooKeeper", make_zookeeper_backend}));

}  // namespace
}  // namespace godwit::coord
