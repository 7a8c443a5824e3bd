// AgentLink against an agent that the test plays: what it sends, repeats, keeps and gives up.
#include "godwit/agent_link.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <optional>
#include <string>
#include <utility>

#include "endpoints/agent_conversation.h"
#include "godwit/endpoints/agent.pb.h"
#include "support/agent_process.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
using endpoints::proto::Response;
using endpoints_tests::Conversation;

constexpr auto kPatience = 10s;

class AgentLinkTest : public ::testing::Test {
 protected:
  Conversation accept() { return listener_.accept(); }
  AgentLinkOptions options() const {
    AgentLinkOptions options;
    options.runtime_directory = folder_.path();
    return options;
  }
  /// Attaches while the test answers the hello.
  std::unique_ptr<AgentLink> attach(AgentLinkOptions options, std::optional<Conversation>& agent,
                                    bool granting = true) {
    auto attached = std::async(std::launch::async, [&] { return AgentLink::attach(options); });
    agent.emplace(accept());
    agent->welcome(false, granting);
    auto link = attached.get();
    EXPECT_TRUE(link) << (link ? "" : link.error().to_string());
    return link ? std::move(*link) : nullptr;
  }

  test_support::TemporaryFolder folder_;
  endpoints_tests::AgentListener listener_{folder_.path()};
};

template <typename T>
struct Expect {
  std::promise<Result<T>> promise;
  std::future<Result<T>> future = promise.get_future();
  std::atomic<int> answers{0};
  Resolver::Done<T> done() {
    return [this](Result<T> result) {
      if (++answers == 1) promise.set_value(std::move(result));
    };
  }
  Result<T> get() {
    if (future.wait_for(kPatience) != std::future_status::ready) {
      return fail(Errc::deadline_exceeded, "the test waited in vain");
    }
    return future.get();
  }
};

// A peer that dials right after the bind must find an engine that can prove its membership.
TEST_F(AgentLinkTest, HasTheKeyOfADcBeforeItBindsThere) {
  std::optional<Conversation> agent;
  const auto link = attach(options(), agent, false);
  ASSERT_TRUE(link);
  Expect<EndpointPlace> bound;
  link->bind({"demo", "echo", "engine"}, bound.done());
  const auto first = agent->receive();
  ASSERT_TRUE(first && first->has_find_dc());
  EXPECT_EQ(first->find_dc().dc(), "demo");
  EXPECT_FALSE(link->key(1));
  Response found;
  found.set_number(first->number());
  Conversation::grant_demo(found);
  found.mutable_found_dc()->set_id(1);
  agent->send(found);
  const auto second = agent->receive();
  ASSERT_TRUE(second && second->has_bind());
  EXPECT_TRUE(link->key(1));
  agent->bound(*second, 1);
  EXPECT_TRUE(bound.get());
}

TEST_F(AgentLinkTest, RepeatsABindWhoseAnswerWasLostUnderTheSameNonce) {
  std::optional<Conversation> agent;
  const auto link = attach(options(), agent);
  ASSERT_TRUE(link);
  Expect<EndpointPlace> bound;
  link->bind({"demo", "echo", "engine"}, bound.done());
  const auto first = agent->receive();
  ASSERT_TRUE(first && first->has_bind());
  EXPECT_FALSE(first->bind().repeated());
  agent.reset();  // before the answer

  auto second = accept();
  second.welcome(true);
  const auto claim = second.receive();
  ASSERT_TRUE(claim && claim->has_claim());
  EXPECT_TRUE(claim->claim().last());
  EXPECT_EQ(claim->claim().endpoints_size(), 0);
  const auto repeated = second.receive();
  ASSERT_TRUE(repeated && repeated->has_bind());
  EXPECT_EQ(repeated->bind().nonce(), first->bind().nonce());
  EXPECT_TRUE(repeated->bind().repeated());
  second.done(*claim);
  second.bound(*repeated, 7);
  const auto place = bound.get();
  ASSERT_TRUE(place) << place.error().to_string();
  EXPECT_EQ(place->id, (EndpointId{1, 7, 1}));
  EXPECT_EQ(place->engine_address, "engine");
  EXPECT_TRUE(link->key(1));
  EXPECT_EQ(bound.answers, 1);
}

TEST_F(AgentLinkTest, ClaimsWhatItHoldsAndSubscribesToWhatItKnowsAtANewAgent) {
  std::optional<Conversation> agent;
  const auto link = attach(options(), agent);
  ASSERT_TRUE(link);
  Expect<EndpointPlace> kept, released, resolved;
  Expect<void> unbound;
  link->bind({"demo", "kept", "engine"}, kept.done());
  agent->bound(*agent->receive(), 1);
  link->bind({"demo", "released", "engine"}, released.done());
  agent->bound(*agent->receive(), 2);
  ASSERT_TRUE(kept.get() && released.get());
  link->unbind({1, 2, 1}, unbound.done());
  agent->done(*agent->receive());
  ASSERT_TRUE(unbound.get());
  link->resolve("demo/other", resolved.done());
  Response response;
  response.set_number(agent->receive()->number());
  Conversation::fill(*response.mutable_place(), 9, "demo/other");
  agent->send(response);
  ASSERT_TRUE(resolved.get());
  agent.reset();

  auto second = accept();
  second.welcome(true);
  const auto claim = second.receive();
  ASSERT_TRUE(claim && claim->has_claim());
  ASSERT_EQ(claim->claim().endpoints_size(), 1);
  EXPECT_EQ(claim->claim().endpoints(0).slot(), 1u);
  EXPECT_EQ(claim->claim().endpoints(0).engine_address(), "engine");
  const auto subscribe = second.receive();
  ASSERT_TRUE(subscribe && subscribe->has_subscribe());
  ASSERT_EQ(subscribe->subscribe().places_size(), 1);
  EXPECT_EQ(subscribe->subscribe().places(0).name(), "demo/other");
  second.done(*claim);

  // A push keeps the cache true.
  ASSERT_NE(link->cached("demo/other"), nullptr);
  Response push;
  Conversation::fill(*push.mutable_changed()->mutable_place(), 9, "demo/other",
                     EndpointState::dead);
  second.send(push);
  Expect<EndpointPlace> after;
  link->resolve("demo/x", after.done());
  Response missing;
  missing.set_number(second.receive()->number());
  missing.mutable_failure()->set_code(static_cast<std::uint32_t>(Errc::not_found));
  // The answer follows the push in the stream, so by then the push was handled.
  second.send(missing);
  EXPECT_FALSE(after.get());
  EXPECT_EQ(link->cached("demo/other"), nullptr);
}

TEST_F(AgentLinkTest, GivesBackABindThatIsAnsweredAfterItsDeadline) {
  auto limits = options();
  limits.request_timeout = 100ms;
  std::optional<Conversation> agent;
  const auto link = attach(limits, agent);
  ASSERT_TRUE(link);
  Expect<EndpointPlace> bound;
  link->bind({"demo", "late", "engine"}, bound.done());
  const auto request = agent->receive();
  ASSERT_TRUE(request);
  EXPECT_GT(request->timeout_ms(), 0u);
  EXPECT_LT(request->timeout_ms(), 100u);
  const auto failed = bound.get();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Errc::agent_unavailable);
  agent->bound(*request, 5);
  const auto unbind = agent->receive();
  ASSERT_TRUE(unbind && unbind->has_unbind());
  EXPECT_EQ(unbind->unbind().slot(), 5u);
}

TEST_F(AgentLinkTest, WaitsSurviveTheAgentAndCanBeCancelled) {
  auto limits = options();
  limits.request_timeout = 50ms;  // does not concern waits
  std::optional<Conversation> agent;
  const auto link = attach(limits, agent);
  ASSERT_TRUE(link);
  Expect<EndpointPlace> kept, cancelled;
  link->wait_bound("demo/kept", kept.done());
  const auto ticket = link->wait_bound("demo/cancelled", cancelled.done());
  ASSERT_TRUE(agent->receive() && agent->receive());
  link->cancel(ticket);
  EXPECT_EQ(cancelled.get().error().code, Errc::cancelled);
  const auto cancel = agent->receive();
  ASSERT_TRUE(cancel && cancel->has_cancel_wait());
  EXPECT_EQ(cancel->cancel_wait().number(), ticket);
  agent.reset();

  auto second = accept();
  second.welcome(true);
  second.done(*second.receive());
  const auto wait = second.receive();
  ASSERT_TRUE(wait && wait->has_wait_bound());
  EXPECT_EQ(wait->wait_bound().name(), "demo/kept");
  EXPECT_EQ(wait->timeout_ms(), 0u);
  Response response;
  response.set_number(wait->number());
  Conversation::fill(*response.mutable_place(), 3, "demo/kept");
  second.send(response);
  EXPECT_EQ(kept.get()->id.slot, 3u);
}

TEST_F(AgentLinkTest, DetachesAtItsEndAndAnswersWhatIsPending) {
  std::optional<Conversation> agent;
  auto link = attach(options(), agent);
  ASSERT_TRUE(link);
  Expect<EndpointPlace> wait;
  link->wait_bound("demo/never", wait.done());
  ASSERT_TRUE(agent->receive());
  auto end = std::async(std::launch::async, [&] { link.reset(); });
  const auto detach = agent->receive();
  ASSERT_TRUE(detach && detach->has_detach());
  agent->done(*detach);
  end.get();
  EXPECT_EQ(wait.get().error().code, Errc::closed);
}

TEST_F(AgentLinkTest, RefusesAnAgentOfAnotherVersionAndOneThatTalksNonsense) {
  for (const bool nonsense : {false, true}) {
    auto attached = std::async(std::launch::async, [&] { return AgentLink::attach(options()); });
    auto agent = accept();
    const auto hello = agent.receive();
    ASSERT_TRUE(hello);
    if (nonsense) {
      agent.send_bytes(std::string(64, '\xff'));
    } else {
      Response response;
      response.set_number(hello->number());
      response.mutable_failure()->set_code(static_cast<std::uint32_t>(Errc::version_mismatch));
      response.mutable_failure()->set_message("too new");
      agent.send(response);
    }
    const auto link = attached.get();
    ASSERT_FALSE(link);
    EXPECT_EQ(link.error().code, nonsense ? Errc::protocol_error : Errc::version_mismatch);
  }
}

// The agent takes text that is not UTF-8 for no message and ends the connection: sent once, it
// would be repeated on each new one.
TEST_F(AgentLinkTest, NeverSendsANameThatIsNone) {
  std::optional<Conversation> agent;
  const auto link = attach(options(), agent);
  ASSERT_TRUE(link);
  const std::string bad = "demo/\xff\xfe";
  Expect<EndpointPlace> resolved, waited, bound;
  Expect<void> ended;
  Expect<std::uint32_t> found;
  link->resolve(bad, resolved.done());
  EXPECT_EQ(link->wait_bound(bad, waited.done()), 0u);
  EXPECT_EQ(link->wait_unbound(bad, ended.done()), 0u);
  link->find_dc("\xff", found.done());
  link->bind({"demo", "\xff", "engine"}, bound.done());
  EXPECT_EQ(resolved.get().error().code, Errc::invalid_argument);
  EXPECT_EQ(waited.get().error().code, Errc::invalid_argument);
  EXPECT_EQ(ended.get().error().code, Errc::invalid_argument);
  EXPECT_EQ(found.get().error().code, Errc::invalid_argument);
  EXPECT_EQ(bound.get().error().code, Errc::invalid_argument);

  // In a batch the others are bound, and answered in their places.
  Expect<std::vector<Result<EndpointPlace>>> many;
  link->bind_many({{"demo", "a", "engine"},
                   {"demo", "\xff", "engine"},
                   {"demo", "big", std::string(5000, 'x')},
                   {"demo", "b", "other"}},
                  many.done());
  const auto request = agent->receive();
  ASSERT_TRUE(request && request->has_bind());
  ASSERT_EQ(request->bind().items_size(), 2);
  agent->bound(*request, 4);
  const auto results = many.get();
  ASSERT_TRUE(results);
  EXPECT_EQ((*results)[0]->id.slot, 4u);
  EXPECT_EQ((*results)[1].error().code, Errc::invalid_argument);
  EXPECT_EQ((*results)[2].error().code, Errc::too_large);
  EXPECT_EQ((*results)[3]->id.slot, 5u);
  EXPECT_EQ((*results)[3]->engine_address, "other");
}

TEST_F(AgentLinkTest, ComesBackAfterNonsense) {
  std::optional<Conversation> agent;
  const auto link = attach(options(), agent);
  ASSERT_TRUE(link);
  agent->send_bytes(std::string(64, '\xff'));
  auto second = accept();
  second.welcome(true);
  const auto claim = second.receive();
  EXPECT_TRUE(claim && claim->has_claim());
}

TEST(RuntimeDirectory, IsChosenByTheEnvironment) {
  const char* before = std::getenv("GODWIT_RUN");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("GODWIT_RUN", "/some/where", 1);
  EXPECT_EQ(default_runtime_directory(), "/some/where");
  ::unsetenv("GODWIT_RUN");
  EXPECT_FALSE(default_runtime_directory().empty());
  if (before != nullptr) ::setenv("GODWIT_RUN", kept.c_str(), 1);
  EXPECT_EQ(process_file_stem(0xabcu), "0000000000000abc");
}

}  // namespace
}  // namespace godwit
