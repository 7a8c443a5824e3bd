// What the tests of moves share: agents, and processes that play their part in a move by the book
// (move_player/), told by the test where to stop.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "admin_client.h"
#include "node/agent_fixture.h"

namespace godwit::node_tests {

using endpoints::proto::EndpointInfo;
using endpoints::proto::MigrationInfo;

/// A move player that runs as a process of its own.
class PlayedProcess {
 public:
  PlayedProcess(const AgentProcess& agent, const std::vector<std::string>& arguments)
      : child_(command(agent, arguments)) {}

  /// Until it prints a line that begins so.
  bool wait(const std::string& beginning) {
    while (const auto line = child_.read_line()) {
      said_ += *line + "\n";
      if (line->starts_with(beginning)) return true;
    }
    return false;
  }
  void tell(const std::string& line) { child_.write_line(line); }
  void kill() { child_.kill(); }
  pid_t pid() const { return child_.pid(); }
  /// What it has printed so far, as far as it was waited for.
  const std::string& said() const { return said_; }

 private:
  static std::vector<std::string> command(const AgentProcess& agent,
                                          const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {test_support::program_path("godwit-test-move-player"), "--run",
                                    agent.run()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }

  ChildProcess child_;
  std::string said_;
};

class MoveTest : public AgentTest {
 protected:
  using Player = std::unique_ptr<PlayedProcess>;

  static std::vector<std::string> holds(const std::vector<std::string>& reports) {
    std::vector<std::string> arguments;
    for (const std::string& report : reports) {
      arguments.insert(arguments.end(), {"--hold", report});
    }
    return arguments;
  }
  /// A process that serves the names in `demo` as the program `kv`.
  static Player start_server(const AgentProcess& agent, const std::vector<std::string>& names,
                             const std::vector<std::string>& held = {}) {
    auto player = std::make_unique<PlayedProcess>(agent, holds(held));
    for (const std::string& name : names) {
      player->tell("bind demo " + name + " kv");
      EXPECT_TRUE(player->wait("bound ")) << player->said();
    }
    return player;
  }
  static Player start_standby(const AgentProcess& agent,
                              const std::vector<std::string>& held = {}) {
    auto arguments = holds(held);
    arguments.insert(arguments.end(), {"--program", "kv"});
    auto player = std::make_unique<PlayedProcess>(agent, arguments);
    EXPECT_TRUE(player->wait("stands by")) << player->said();
    return player;
  }

  static node::AdminClient admin(const AgentProcess& agent) {
    auto client = node::AdminClient::connect(agent.run(), 20s);
    EXPECT_TRUE(client) << (client ? "" : client.error().to_string());
    return std::move(*client);
  }
  static Result<MigrationInfo> plan(const AgentProcess& agent, const std::string& name,
                                    const std::string& node) {
    endpoints::proto::MigrateRequest request;
    request.set_name(name);
    request.set_node(node);
    return admin(agent).migrate(request);
  }
  /// Asks again and again until `done` likes what it hears.
  template <typename Done>
  static MigrationInfo wait_move(const AgentProcess& agent, std::uint64_t id, Done done) {
    auto client = admin(agent);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    MigrationInfo last;
    while (std::chrono::steady_clock::now() < deadline) {
      const auto move = client.migration(id);
      if (!move) continue;
      last = *move;
      if (done(last)) return last;
    }
    ADD_FAILURE() << "in vain: " << last.ShortDebugString();
    return last;
  }
  static MigrationInfo wait_state(const AgentProcess& agent, std::uint64_t id,
                                  const std::string& state) {
    return wait_move(agent, id, [&](const MigrationInfo& move) { return move.state() == state; });
  }
  /// The endpoint as the directory has it.
  static EndpointInfo endpoint(const AgentProcess& agent, const std::string& name) {
    endpoints::proto::ListEndpointsRequest filter;
    filter.set_name_prefix(name);
    filter.set_include_gone(true);
    EndpointInfo found;
    EXPECT_TRUE(admin(agent).list_endpoints(filter, [&](const EndpointInfo& info) {
      if (info.place().name() == name) found = info;
      return true;
    }));
    return found;
  }
  template <typename Done>
  static EndpointInfo wait_endpoint(const AgentProcess& agent, const std::string& name, Done done) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    EndpointInfo last;
    while (std::chrono::steady_clock::now() < deadline) {
      last = endpoint(agent, name);
      if (done(last)) return last;
    }
    ADD_FAILURE() << "in vain: " << last.ShortDebugString();
    return last;
  }
  static bool serves(const EndpointInfo& info, const std::string& node, std::uint32_t epoch) {
    return info.place().node() == node && info.place().epoch() == epoch &&
           info.place().state() == static_cast<std::uint32_t>(EndpointState::serving);
  }
  static bool is_dead(const EndpointInfo& info) {
    return info.place().state() == static_cast<std::uint32_t>(EndpointState::dead);
  }
  static std::vector<endpoints::proto::ProcessEntry> processes(const AgentProcess& agent) {
    auto listed = admin(agent).list_processes();
    EXPECT_TRUE(listed);
    return std::move(*listed);
  }
  static std::vector<endpoints::proto::NodeInfo> nodes(const AgentProcess& agent) {
    auto listed = admin(agent).list_nodes();
    EXPECT_TRUE(listed);
    return std::move(*listed);
  }
  /// How many endpoints a process of an agent holds.
  static std::uint64_t held_by(const AgentProcess& agent, pid_t pid) {
    for (const auto& process : processes(agent)) {
      if (process.pid() == static_cast<std::uint32_t>(pid)) return process.endpoints();
    }
    return 0;
  }
  /// An agent hears of a move's end a moment after the record has it.
  static bool wait_held(const AgentProcess& agent, pid_t pid, std::uint64_t count) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    std::uint64_t held = 0;
    while (std::chrono::steady_clock::now() < deadline) {
      held = held_by(agent, pid);
      if (held == count) return true;
    }
    ADD_FAILURE() << "in vain: process " << pid << " holds " << held << " endpoints";
    return false;
  }
};

/// Moves between two nodes, `one` and `two`.
class TwoNodesTest : public MoveTest {
 protected:
  /// How most moves begin: with a server at `one`, a standby at `two`, and the plan that the
  /// server's first endpoint moves there. Each of them stops before the reports that it holds.
  struct Beginning {
    std::vector<std::string> names = {"kv"};
    std::vector<std::string> server_holds = {}, standby_holds = {};
    const AgentProcess* asked = nullptr;  // for the plan; that of `one` unless another is named
  };

  void SetUp() override {
    one_ = start_agent("one");
    two_ = start_agent("two");
    ASSERT_TRUE(one_ && two_);
  }
  /// Those of the last beginning are killed.
  void begin_move(const Beginning& beginning) {
    standby_.reset();
    server_.reset();
    server_ = start_server(*one_, beginning.names, beginning.server_holds);
    standby_ = start_standby(*two_, beginning.standby_holds);
    const AgentProcess& asked = beginning.asked != nullptr ? *beginning.asked : *one_;
    auto planned = plan(asked, "demo/" + beginning.names.front(), "two");
    ASSERT_TRUE(planned) << planned.error().to_string();
    move_ = std::move(*planned);
  }

  std::unique_ptr<AgentProcess> one_, two_;
  Player server_, standby_;  // of begin_move()
  MigrationInfo move_;       // as it was planned
};

}  // namespace godwit::node_tests
