// Agents that are killed, restarted and stopped, and nodes that are lost.
#include <godwit/coord/blocking.h>
#include <godwit/coord/directory.h>
#include <godwit/coord/local_coordinator.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin_client.h"
#include "agent/tcp_socket.h"
#include "godwit/fabric/address.h"
#include "godwit/godwit.h"
#include "node/agent_fixture.h"
#include "node/scripted_process.h"

namespace godwit::node_tests {
namespace {

class AgentLossTest : public AgentTest {};

/// An engine's address with a TCP port that a test listens on, or that nobody does.
class FakeEngine {
 public:
  FakeEngine() : socket_{"127.0.0.1", 0} { fd_ = node::listen_tcp(socket_).value(); }
  ~FakeEngine() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  std::string address() const {
    fabric::EngineAddress address;
    address.engine = fabric::EngineId{1, 2};
    address.node = "any";
    address.host = "any";
    address.tcp = {socket_};
    return address.serialize();
  }

 private:
  fabric::SocketAddress socket_;
  int fd_ = -1;
};

bool listed(const AgentProcess& agent, const std::string& node) {
  auto client = node::AdminClient::connect(agent.run());
  if (!client) return false;
  const auto nodes = client->list_nodes();
  if (!nodes) return false;
  return std::any_of(nodes->begin(), nodes->end(),
                     [&](const auto& info) { return info.name() == node && info.alive(); });
}

TEST_F(AgentLossTest, AProcessAttachesAgainToARestartedAgentAndKeepsItsEndpoints) {
  const auto one = start_agent("one", {"--reattach-grace", "500ms"});
  const auto two = start_agent("two");
  ASSERT_TRUE(one && two);
  const auto a = attach(*one), b = attach(*two);
  Told told, far_told;
  a->set_listener(&told);
  b->set_listener(&far_told);
  const auto named = bind_at(*a, "demo", "echo");
  const auto anonymous = bind_at(*a, "demo", "");
  ASSERT_TRUE(named && anonymous);
  ASSERT_TRUE(resolve(*b, "demo/echo") && locate(*b, anonymous->id));
  const auto target = bind_at(*b, "demo", "target");
  ASSERT_TRUE(target && resolve(*a, "demo/target"));

  one->kill();
  ASSERT_TRUE(told.wait_agent(false));
  EXPECT_FALSE(a->connected());
  EXPECT_NE(a->cached("demo/target"), nullptr);  // what is known stays known
  ASSERT_TRUE(one->launch()) << one->log();
  ASSERT_TRUE(told.wait_agent(true));

  // Past the grace, in which the records of processes that did not come back are buried: a bind of
  // a process that dies is buried last.
  auto client = node::AdminClient::connect(one->run());
  ASSERT_TRUE(client);
  const auto incarnation = client->hello().incarnation();
  const auto reclaimed = [&] {
    std::size_t count = 0;
    endpoints::proto::ListEndpointsRequest filter;
    filter.set_node("one");
    EXPECT_TRUE(client->list_endpoints(filter, [&](const auto& info) {
      count += info.node_incarnation() == incarnation ? 1 : 0;
      return true;
    }));
    return count;
  };
  for (int i = 0; i < 400 && reclaimed() != 2; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(reclaimed(), 2u);
  std::this_thread::sleep_for(1s);  // twice the grace: nothing may happen
  EXPECT_EQ(reclaimed(), 2u);
  EXPECT_EQ(locate(*b, named->id)->state, EndpointState::serving);
  EXPECT_EQ(locate(*b, anonymous->id)->lineage, anonymous->lineage);
  for (const auto& change : far_told.changes()) EXPECT_FALSE(change.gone()) << change.name;

  // The new agent was told what the process knows: it pushes again.
  ASSERT_TRUE(unbind(*b, target->id));
  EXPECT_TRUE(told.wait_state(target->id, EndpointState::unbound));
  ASSERT_TRUE(unbind(*a, named->id));
  EXPECT_TRUE(far_told.wait_state(named->id, EndpointState::unbound));
  a->set_listener(nullptr);
  b->set_listener(nullptr);
}

TEST_F(AgentLossTest, RequestsMadeWhileTheAgentIsAwayAreAnsweredByTheNextOne) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  AgentLinkOptions options;
  options.runtime_directory = one->run();
  options.request_timeout = 20s;  // an agent's start under load takes a while
  const auto a = AgentLink::attach(options).value();
  one->kill();
  std::promise<Result<EndpointPlace>> promise;
  a->bind({"demo", "later", "engine"},
          [&](Result<EndpointPlace> result) { promise.set_value(std::move(result)); });
  ASSERT_TRUE(one->launch());
  auto future = promise.get_future();
  ASSERT_EQ(future.wait_for(kPatience), std::future_status::ready);
  const auto bound = future.get();
  ASSERT_TRUE(bound) << bound.error().to_string();
  EXPECT_EQ(resolve(*a, "demo/later")->id, bound->id);
}

// A bind whose answer was lost with the agent is repeated to the next one, and finds what it had
// made, if it had; but never what the process has had before.
TEST_F(AgentLossTest, ARepeatedBindFindsWhatItMadeAndNothingElse) {
  const auto one = start_agent("one", {"--reattach-grace", "20s"});
  ASSERT_TRUE(one);
  endpoints::proto::Place had, made;
  {
    ScriptedProcess process(*one, 77);
    had = process.bind_anonymous(1, false);
    made = process.bind_anonymous(2, false);
  }
  one->kill();
  ASSERT_TRUE(one->launch()) << one->log();
  // Its records are found before it comes back: repeated binds are answered after the first sweep.
  ScriptedProcess witness(*one, 78);
  witness.bind_anonymous(1, true, "the witness's engine");
  ScriptedProcess process(*one, 77, true);
  process.claim(had);
  EXPECT_EQ(process.bind_anonymous(2, true).slot(), made.slot());
  const auto another = process.bind_anonymous(3, true);
  EXPECT_NE(another.slot(), had.slot()) << "an endpoint is bound twice";
  EXPECT_NE(another.slot(), made.slot()) << "an endpoint is bound twice";
}

TEST_F(AgentLossTest, WithoutAnAgentARequestFailsAtItsDeadline) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  AgentLinkOptions options;
  options.runtime_directory = one->run();
  options.request_timeout = 300ms;
  const auto a = AgentLink::attach(options).value();
  one->kill();
  const auto bound = bind_at(*a, "demo", "never");
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code, Errc::agent_unavailable);
  EXPECT_NE(bound.error().message.find(one->run()), std::string::npos) << bound.error().message;
}

TEST_F(AgentLossTest, EndpointsOfProcessesThatDiedWithTheAgentAreBuried) {
  const auto one = start_agent("one", {"--reattach-grace", "300ms"});
  const auto two = start_agent("two");
  ASSERT_TRUE(one && two);
  auto holder = start_holder(*one, {"gone"});
  const auto b = attach(*two);
  Told told;
  b->set_listener(&told);
  const auto place = resolve(*b, "demo/gone");
  ASSERT_TRUE(place);
  one->kill();
  holder->kill();
  ASSERT_TRUE(one->launch());
  EXPECT_TRUE(told.wait_state(place->id, EndpointState::dead));
  EXPECT_TRUE(bind_at(*b, "demo", "gone"));
  b->set_listener(nullptr);
}

TEST_F(AgentLossTest, AStoppedAgentLeavesTheListAndItsProcessesGoOn) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  const auto a = attach(*one), b = attach(*two);
  Told told;
  a->set_listener(&told);
  const FakeEngine engine;
  const auto bound = bind_at(*a, "demo", "echo", engine.address());
  ASSERT_TRUE(bound && resolve(*b, "demo/echo"));
  ASSERT_TRUE(listed(*two, "one"));
  EXPECT_EQ(one->stop(), 0);
  EXPECT_FALSE(listed(*two, "one"));
  EXPECT_NE(::access((one->run() + "/agent.sock").c_str(), F_OK), 0);
  EXPECT_NE(b->cached("demo/echo"), nullptr);
  ASSERT_TRUE(one->launch());
  EXPECT_TRUE(told.wait_agent(true));
  EXPECT_EQ(locate(*b, bound->id)->state, EndpointState::serving);
  a->set_listener(nullptr);
}

TEST_F(AgentLossTest, ALostNodeIsToldAsDeathWithinASecondOrSo) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  FakeEngine engine;
  auto refusing = start_holder(*one, {"refusing"}, engine.address());
  auto unknown = start_holder(*one, {"unknown"}, "no address at all");
  const auto b = attach(*two);
  const auto fast = resolve(*b, "demo/refusing"), slow = resolve(*b, "demo/unknown");
  ASSERT_TRUE(fast && slow);
  engine.close();
  const auto lost = std::chrono::steady_clock::now();
  one->kill();
  refusing->kill();
  unknown->kill();
  // Both ports refuse: that is proof enough, before the directory knows.
  const auto fast_answer = locate(*b, fast->id);
  ASSERT_TRUE(fast_answer) << fast_answer.error().to_string();
  EXPECT_EQ(fast_answer->state, EndpointState::dead);
  EXPECT_LT(std::chrono::steady_clock::now() - lost, 1s);
  // Without an engine to ask, the node's record must be gone for the grace.
  auto slow_answer = locate(*b, slow->id);
  if (slow_answer && !slow_answer->gone()) slow_answer = locate(*b, slow->id);
  ASSERT_TRUE(slow_answer);
  EXPECT_EQ(slow_answer->state, EndpointState::dead);
  EXPECT_LT(std::chrono::steady_clock::now() - lost, 3s);
  // And the name can be taken.
  EXPECT_TRUE(bind_at(*b, "demo", "unknown"));
}

TEST_F(AgentLossTest, ALostNodesNameCanBeTakenWithoutAskingFirst) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  FakeEngine engine;
  auto holder = start_holder(*one, {"taken"}, engine.address());
  const auto b = attach(*two);
  EXPECT_EQ(bind_at(*b, "demo", "taken").error().code, Errc::name_taken);
  engine.close();
  one->kill();
  holder->kill();
  const auto bound = bind_at(*b, "demo", "taken");
  EXPECT_TRUE(bound) << bound.error().to_string();
}

TEST_F(AgentLossTest, AMissingAgentAloneIsNoDeathWhileTheEngineAnswers) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  FakeEngine engine;
  const auto a = attach(*one), b = attach(*two);
  const auto bound = bind_at(*a, "demo", "alive", engine.address());
  ASSERT_TRUE(bound && resolve(*b, "demo/alive"));
  one->kill();
  for (const auto delay : {0ms, 1500ms}) {  // with its record still there, and gone
    std::this_thread::sleep_for(delay);
    const auto located = locate(*b, bound->id);
    ASSERT_TRUE(located);
    EXPECT_EQ(located->state, EndpointState::serving);
  }
}

// A node that could not be reached, and comes back when others have buried it: what its processes
// did from now on would be a second life beside that of whoever has the name by then.
TEST_F(AgentLossTest, AnEndpointThatWasTakenForDeadIsDeadToItsProcess) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  ProcessOptions options;
  options.runtime_directory = one->run();
  auto process = Process::attach(options);
  ASSERT_TRUE(process) << process.error().to_string();
  auto server = (*process)->bind("demo/server");
  auto client = (*process)->bind_anonymous("demo");
  ASSERT_TRUE(server && client);
  auto remote = client->lookup("demo/server", 5s);
  ASSERT_TRUE(remote) << remote.error().to_string();

  // The agent stands still; its session ends, and another's judgement is written.
  ASSERT_EQ(::kill(one->pid(), SIGSTOP), 0);
  coord::LocalOptions local;
  local.folder = directory_.substr(directory_.find(':') + 1);
  auto coordinator = coord::LocalCoordinator::open(std::move(local));
  ASSERT_TRUE(coordinator);
  coord::Directory directory(**coordinator);
  const auto limit = coord::after(10s);
  const auto bound = coord::blocking::wait<coord::EndpointEntry>(
      **coordinator, limit,
      [&](auto done) { directory.resolve("demo", "server", limit, std::move(done)); });
  ASSERT_TRUE(bound) << bound.error().message;
  const auto& record = bound->record;
  const auto dead = coord::blocking::wait<void>(**coordinator, limit, [&](auto done) {
    directory.mark_dead("demo", record.slot(), record.generation(), record.owner().process(), limit,
                        std::move(done));
  });
  ASSERT_TRUE(dead) << dead.error().message;
  const auto gone = [&] {
    const auto node = coord::blocking::wait<coord::NodeEntry>(**coordinator, limit, [&](auto done) {
      directory.get_node("one", limit, std::move(done));
    });
    return !node && node.error().code == coord::Errc::no_node;
  };
  for (int i = 0; i < 500 && !gone(); ++i) std::this_thread::sleep_for(10ms);
  ASSERT_EQ(::kill(one->pid(), SIGCONT), 0);

  const auto received = server->receive_request(kPatience);
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code, Errc::endpoint_died) << received.error().to_string();
  EXPECT_EQ(server->receive(0ms).error().code, Errc::endpoint_died);
  EXPECT_EQ(server->lookup("demo/server", 5s).error().code, Errc::not_found);
  const auto called = client->call(*remote, bytes_of("hello"), 5s);
  ASSERT_FALSE(called);
  EXPECT_EQ(called.error().code, Errc::endpoint_died) << called.error().to_string();
  EXPECT_EQ(called.error().outcome, Outcome::not_executed);
  // The process itself lives on, and the name is free.
  EXPECT_TRUE((*process)->bind("demo/server"));
}

}  // namespace
}  // namespace godwit::node_tests
