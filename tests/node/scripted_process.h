// ScriptedProcess: what a process says to its agent, word for word, for tests of words that an
// AgentLink says only by chance of time.
//
// Owner: a test, on one thread. Blocks, for kPatience at most.
#pragma once

#include <unistd.h>

#include <string>

#include "godwit/agent_protocol.h"
#include "godwit/endpoints/agent.pb.h"
#include "node/agent_fixture.h"
#include "support/message_socket.h"

namespace godwit::node_tests {

class ScriptedProcess {
 public:
  using Request = endpoints::proto::Request;
  using Response = endpoints::proto::Response;

  /// Connects and says hello as process `number`; `again`: claims follow.
  ScriptedProcess(const AgentProcess& agent, std::uint64_t number, bool again = false)
      : socket_(test_support::MessageSocket::connect(agent_socket_path(agent.run()))) {
    Request request;
    auto& hello = *request.mutable_hello();
    hello.set_version_min(agent_protocol::kVersionMin);
    hello.set_version_max(agent_protocol::kVersionMax);
    hello.set_again(again);
    hello.mutable_process()->set_process(number);
    hello.mutable_process()->set_pid(static_cast<std::uint32_t>(::getpid()));
    EXPECT_TRUE(ask(request).has_hello());
  }

  /// The answer to the request; an empty one, and a failure of the test, if there is none.
  Response ask(Request request) {
    request.set_number(++number_);
    EXPECT_TRUE(socket_.send(request));
    while (auto response = socket_.receive<Response>(kPatience)) {
      if (response->number() == number_) return *response;
    }
    ADD_FAILURE() << "the agent did not answer " << request.ShortDebugString();
    return {};
  }

  /// Binds without a name; `repeated`: as a link does whose agent went away before it answered.
  endpoints::proto::Place bind_anonymous(std::uint64_t nonce, bool repeated,
                                         const std::string& address = "engine") {
    Request request;
    auto& bind = *request.mutable_bind();
    bind.set_nonce(nonce);
    bind.set_repeated(repeated);
    bind.add_engine_addresses(address);
    bind.add_items()->set_dc("demo");
    const Response response = ask(request);
    const auto& results = response.bind().results();
    EXPECT_TRUE(results.size() == 1 && results[0].has_place()) << response.ShortDebugString();
    return results.empty() ? endpoints::proto::Place() : results[0].place();
  }

  /// Claims one endpoint, and that this is all.
  void claim(const endpoints::proto::Place& place, const std::string& address = "engine") {
    Request request;
    *request.mutable_claim()->add_endpoints() = place;
    request.mutable_claim()->mutable_endpoints(0)->set_engine_address(address);
    request.mutable_claim()->set_last(true);
    EXPECT_TRUE(ask(request).has_done());
  }

 private:
  test_support::MessageSocket socket_;
  std::uint64_t number_ = 0;
};

}  // namespace godwit::node_tests
