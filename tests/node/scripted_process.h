// ScriptedProcess: what a process says to its agent, word for word, for tests of words that an
// AgentLink says only by chance of time.
//
// Owner: a test, on one thread. Blocks for kPatience at most.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>

#include "godwit/agent_protocol.h"
#include "godwit/endpoints/agent.pb.h"
#include "node/agent_fixture.h"

namespace godwit::node_tests {

class ScriptedProcess {
 public:
  using Request = endpoints::proto::Request;
  using Response = endpoints::proto::Response;

  /// Connects and says hello as process `number`; `again`: claims follow.
  ScriptedProcess(const AgentProcess& agent, std::uint64_t number, bool again = false)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = agent_socket_path(agent.run());
    std::memcpy(address.sun_path, path.data(), path.size());
    const timeval patience{std::chrono::seconds(kPatience).count(), 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    Request request;
    auto& hello = *request.mutable_hello();
    hello.set_version_min(agent_protocol::kVersionMin);
    hello.set_version_max(agent_protocol::kVersionMax);
    hello.set_again(again);
    hello.mutable_process()->set_process(number);
    hello.mutable_process()->set_pid(static_cast<std::uint32_t>(::getpid()));
    EXPECT_TRUE(ask(request).has_hello());
  }
  ~ScriptedProcess() { ::close(fd_); }
  ScriptedProcess(const ScriptedProcess&) = delete;
  ScriptedProcess& operator=(const ScriptedProcess&) = delete;

  /// The answer to the request; an empty one, and a failure of the test, if there is none.
  Response ask(Request request) {
    request.set_number(++number_);
    std::string bytes;
    agent_protocol::append(request, bytes);
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    while (auto response = read()) {
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
  std::optional<Response> read() {
    while (true) {
      const auto next = reader_.next();
      if (!next) return std::nullopt;
      if (next->whole) {
        Response response;
        const auto size = static_cast<int>(next->message.size());
        if (!response.ParseFromArray(next->message.data(), size)) return std::nullopt;
        return response;
      }
      constexpr std::size_t kRead = 4096;
      const ssize_t got = ::recv(fd_, reader_.prepare(kRead), kRead, 0);
      if (got <= 0) return std::nullopt;
      reader_.commit(static_cast<std::size_t>(got));
    }
  }

  int fd_;
  std::uint64_t number_ = 0;
  agent_protocol::MessageReader reader_;
};

}  // namespace godwit::node_tests
