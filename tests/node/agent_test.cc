// Endpoints and processes across running agents, two nodes on one machine with the local directory.
#include <algorithm>
#include <set>

#include "node/agent_fixture.h"

namespace godwit::node_tests {
namespace {

TEST_F(AgentTest, BindsOnOneNodeAndResolvesOnTheOther) {
  const auto one = start_agent("one");
  const auto two = start_agent("two");
  ASSERT_TRUE(one && two);
  const auto a = attach(*one), b = attach(*two);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->node(), "one");
  EXPECT_EQ(a->listen_host(), "127.0.0.1");
  EXPECT_EQ(a->runtime_directory(), one->run());

  const auto bound = bind_at(*a, "demo", "echo", "address of a");
  ASSERT_TRUE(bound) << bound.error().to_string();
  EXPECT_EQ(bound->name, "demo/echo");
  EXPECT_EQ(bound->node, "one");
  EXPECT_EQ(bound->process, a->process());
  EXPECT_EQ(bound->engine_address, "address of a");
  EXPECT_TRUE(a->key(bound->id.dc));

  EXPECT_EQ(b->cached("demo/echo"), nullptr);
  const auto resolved = resolve(*b, "demo/echo");
  ASSERT_TRUE(resolved) << resolved.error().to_string();
  EXPECT_EQ(resolved->id, bound->id);
  EXPECT_EQ(resolved->lineage, bound->lineage);
  EXPECT_EQ(resolved->engine_address, "address of a");
  ASSERT_NE(b->cached("demo/echo"), nullptr);
  EXPECT_EQ(b->cached("demo/echo")->id, bound->id);
  // Both can prove that they belong to the DC.
  ASSERT_TRUE(b->key(bound->id.dc));
  EXPECT_EQ(*a->key(bound->id.dc), *b->key(bound->id.dc));

  const auto located = locate(*b, bound->id);
  ASSERT_TRUE(located) << located.error().to_string();
  EXPECT_EQ(located->state, EndpointState::serving);
  const auto dc = ask<std::uint32_t>([&](auto done) { b->find_dc("demo", done); });
  ASSERT_TRUE(dc);
  EXPECT_EQ(*dc, bound->id.dc);
}

TEST_F(AgentTest, RefusesATakenNameAndSaysWhoHasIt) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  const auto a = attach(*one), b = attach(*two);
  ASSERT_TRUE(bind_at(*a, "demo", "echo"));
  for (AgentLink* link : {a.get(), b.get()}) {
    const auto again = bind_at(*link, "demo", "echo");
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::name_taken);
    EXPECT_NE(again.error().message.find("node one"), std::string::npos) << again.error().message;
  }
}

TEST_F(AgentTest, AnswersErrorsForWhatIsNotThere) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  const auto a = attach(*one);
  EXPECT_EQ(resolve(*a, "demo/nobody").error().code, Errc::not_found);
  EXPECT_EQ(resolve(*a, "nowhere/echo").error().code, Errc::not_found);
  EXPECT_EQ(resolve(*a, "no slash").error().code, Errc::invalid_argument);
  EXPECT_EQ(resolve(*a, std::string("demo/a\x01b")).error().code, Errc::invalid_argument);
  EXPECT_EQ(bind_at(*a, "nowhere", "echo").error().code, Errc::not_found);
  EXPECT_EQ(bind_at(*a, "demo", std::string(300, 'x')).error().code, Errc::invalid_argument);
  EXPECT_EQ(bind_at(*a, "demo", "big", std::string(5000, 'x')).error().code, Errc::too_large);
  EXPECT_EQ(locate(*a, {1, 4'000'000, 1}).error().code, Errc::not_found);
  EXPECT_EQ(unbind(*a, {1, 4'000'000, 1}).error().code, Errc::not_found);
  // Odd, but allowed.
  const auto odd = bind_at(*a, "demo", "grüße/../ %2F\"'");
  ASSERT_TRUE(odd) << odd.error().to_string();
  EXPECT_EQ(resolve(*a, "demo/grüße/../ %2F\"'")->id, odd->id);
}

TEST_F(AgentTest, UnbindFreesTheNameAndTellsThoseWhoResolvedIt) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  const auto a = attach(*one), b = attach(*two);
  Told told;
  b->set_listener(&told);
  const auto first = bind_at(*a, "demo", "echo");
  ASSERT_TRUE(first);
  ASSERT_TRUE(resolve(*b, "demo/echo"));
  ASSERT_TRUE(unbind(*a, first->id));
  EXPECT_TRUE(told.wait_state(first->id, EndpointState::unbound));
  EXPECT_EQ(b->cached("demo/echo"), nullptr);
  EXPECT_EQ(resolve(*b, "demo/echo").error().code, Errc::not_found);
  const auto second = bind_at(*b, "demo", "echo");
  ASSERT_TRUE(second);
  EXPECT_NE(second->lineage, first->lineage);
  EXPECT_NE(second->id, first->id);
  // The old id never leads to the new owner.
  const auto old = locate(*a, first->id);
  EXPECT_TRUE(!old || old->gone());
  b->set_listener(nullptr);
}

TEST_F(AgentTest, WaitsForAnEndpointToAppearAndToGo) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  const auto a = attach(*one), b = attach(*two);
  std::promise<Result<EndpointPlace>> appeared;
  b->wait_bound("demo/late", [&](Result<EndpointPlace> r) { appeared.set_value(std::move(r)); });
  auto appears = appeared.get_future();
  const auto bound = bind_at(*a, "demo", "late");
  ASSERT_TRUE(bound);
  ASSERT_EQ(appears.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(appears.get()->id, bound->id);

  std::promise<Result<void>> went;
  b->wait_unbound("demo/late", [&](Result<void> r) { went.set_value(std::move(r)); });
  auto goes = went.get_future();
  ASSERT_TRUE(unbind(*a, bound->id));
  ASSERT_EQ(goes.wait_for(kPatience), std::future_status::ready);
  EXPECT_TRUE(goes.get());

  std::promise<Result<EndpointPlace>> never;
  const auto ticket =
      b->wait_bound("demo/never", [&](Result<EndpointPlace> r) { never.set_value(std::move(r)); });
  b->cancel(ticket);
  auto cancelled = never.get_future();
  ASSERT_EQ(cancelled.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(cancelled.get().error().code, Errc::cancelled);
}

// A look-up of a name takes several steps at the directory; what changes between them is not
// missed.
TEST_F(AgentTest, AWaitMissesNoQuickRebind) {
  const auto east = start_agent("east"), west = start_agent("west");
  ASSERT_TRUE(east && west);
  const auto owner = attach(*east), waiter = attach(*west);
  for (int round = 0; round < 300; ++round) {
    std::promise<Result<EndpointPlace>> bound;
    auto is_bound = bound.get_future();
    waiter->wait_bound("demo/flicker", [&bound](Result<EndpointPlace> place) {
      bound.set_value(std::move(place));
    });
    const auto place = bind_at(*owner, "demo", "flicker");
    ASSERT_TRUE(place) << place.error().to_string();
    ASSERT_EQ(is_bound.wait_for(kPatience), std::future_status::ready) << "round " << round;
    ASSERT_TRUE(is_bound.get());

    std::promise<Result<void>> ended;
    auto is_ended = ended.get_future();
    waiter->wait_unbound("demo/flicker",
                         [&ended](Result<void> done) { ended.set_value(std::move(done)); });
    ASSERT_TRUE(unbind(*owner, place->id));
    ASSERT_EQ(is_ended.wait_for(kPatience), std::future_status::ready) << "round " << round;
  }
}

TEST_F(AgentTest, TellsOfAKilledProcessWithinASecond) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  auto holder = start_holder(*one, {"victim"});
  const auto near = attach(*one), far = attach(*two);
  Told near_told, far_told;
  near->set_listener(&near_told);
  far->set_listener(&far_told);
  const auto place = resolve(*far, "demo/victim");
  ASSERT_TRUE(place && resolve(*near, "demo/victim"));
  std::promise<void> went;
  far->wait_unbound("demo/victim", [&](const Result<void>&) { went.set_value(); });

  const auto killed = std::chrono::steady_clock::now();
  holder->kill();
  EXPECT_TRUE(near_told.wait_state(place->id, EndpointState::dead));
  EXPECT_TRUE(far_told.wait_state(place->id, EndpointState::dead));
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 1s);
  EXPECT_EQ(went.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(locate(*far, place->id)->state, EndpointState::dead);
  // The name of the dead is free.
  EXPECT_TRUE(bind_at(*far, "demo", "victim"));
  near->set_listener(nullptr);
  far->set_listener(nullptr);
}

TEST_F(AgentTest, ACleanExitFreesTheNamesAtOnce) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  auto holder = start_holder(*one, {"a", "b", "c"});
  const auto link = attach(*one);
  EXPECT_EQ(bind_at(*link, "demo", "b").error().code, Errc::name_taken);
  EXPECT_EQ(holder->close_and_wait(), 0);
  for (const char* name : {"a", "b", "c"}) EXPECT_TRUE(bind_at(*link, "demo", name)) << name;
}

TEST_F(AgentTest, BindsManyAtOnceAndAnswersInOrder) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  const auto link = attach(*one);
  constexpr std::size_t kCount = 3000;
  std::vector<BindRequest> requests;
  for (std::size_t i = 0; i < kCount; ++i) {
    requests.push_back({"demo", i % 3 == 2 ? "" : "many/" + std::to_string(i), "engine"});
  }
  requests[10].name = "many/9";  // taken by its neighbour
  requests[20].dc = "nowhere";
  const auto results =
      ask<std::vector<Result<EndpointPlace>>>([&](auto done) { link->bind_many(requests, done); });
  ASSERT_TRUE(results) << results.error().to_string();
  ASSERT_EQ(results->size(), kCount);
  std::set<EndpointId> ids;
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto& result = (*results)[i];
    if (i == 20) {
      EXPECT_EQ(result.error().code, Errc::not_found);
    } else if (!result) {
      EXPECT_TRUE(i == 9 || i == 10) << i << ": " << result.error().to_string();
      EXPECT_EQ(result.error().code, Errc::name_taken);
    } else {
      EXPECT_EQ(result->name, requests[i].name.empty() ? "" : "demo/" + requests[i].name);
      ids.insert(result->id);
    }
  }
  EXPECT_EQ(ids.size(), kCount - 2);
}

}  // namespace
}  // namespace godwit::node_tests
