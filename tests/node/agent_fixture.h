// What the tests of running agents share: folders, agents, links, and blocking forms of a
// Resolver's questions. Test's thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "godwit/agent_link.h"
#include "support/agent_process.h"

namespace godwit::node_tests {

using namespace std::chrono_literals;
using test_support::AgentOptions;
using test_support::AgentProcess;
using test_support::ChildProcess;

inline constexpr auto kPatience = 20s;

/// Starts a question and waits for its answer.
template <typename T>
Result<T> ask(const std::function<void(Resolver::Done<T>)>& start,
              std::chrono::milliseconds patience = kPatience) {
  auto answer = std::make_shared<std::promise<Result<T>>>();
  auto future = answer->get_future();
  start([answer](Result<T> result) { answer->set_value(std::move(result)); });
  if (future.wait_for(patience) != std::future_status::ready) {
    return fail(Errc::deadline_exceeded, "the test waited in vain");
  }
  return future.get();
}

inline Result<EndpointPlace> bind_at(Resolver& resolver, const std::string& dc,
                                     const std::string& name,
                                     const std::string& address = "engine") {
  return ask<EndpointPlace>([&](auto done) { resolver.bind({dc, name, address}, done); });
}
inline Result<EndpointPlace> resolve(Resolver& resolver, const std::string& name) {
  return ask<EndpointPlace>([&](auto done) { resolver.resolve(name, done); });
}
inline Result<EndpointPlace> locate(Resolver& resolver, EndpointId id) {
  return ask<EndpointPlace>([&](auto done) { resolver.locate(id, done); });
}
inline Result<void> unbind(Resolver& resolver, EndpointId id) {
  return ask<void>([&](auto done) { resolver.unbind(id, done); });
}

/// Remembers what a link is told, and lets a test wait for it.
class Told final : public Resolver::Listener {
 public:
  void on_endpoint_changed(const EndpointPlace& place) override {
    std::lock_guard lock(mutex_);
    changes_.push_back(place);
    changed_.notify_all();
  }
  void on_agent(bool available) override {
    std::lock_guard lock(mutex_);
    agent_.push_back(available);
    changed_.notify_all();
  }
  bool wait_change(const std::function<bool(const EndpointPlace&)>& wanted,
                   std::chrono::milliseconds patience = kPatience) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience,
                             [&] { return std::any_of(changes_.begin(), changes_.end(), wanted); });
  }
  bool wait_state(EndpointId id, EndpointState state,
                  std::chrono::milliseconds patience = kPatience) {
    return wait_change([&](const auto& place) { return place.id == id && place.state == state; },
                       patience);
  }
  bool wait_agent(bool available, std::size_t times = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] {
      return static_cast<std::size_t>(std::count(agent_.begin(), agent_.end(), available)) >= times;
    });
  }
  std::vector<EndpointPlace> changes() {
    std::lock_guard lock(mutex_);
    return changes_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<EndpointPlace> changes_;
  std::vector<bool> agent_;
};

class AgentTest : public ::testing::Test {
 protected:
  /// An agent of its own node; all share the local directory and the keys, and make the DC `demo`.
  std::unique_ptr<AgentProcess> start_agent(const std::string& node,
                                            std::vector<std::string> more = {}) {
    AgentOptions options;
    options.node = node;
    options.run = folder_.path() + "/" + node;
    options.directory = directory_;
    options.state = folder_.path() + "/state";
    options.more = {"--create-dc", "demo"};
    options.more.insert(options.more.end(), more.begin(), more.end());
    return AgentProcess::start(std::move(options));
  }
  std::unique_ptr<AgentLink> attach(const AgentProcess& agent) {
    AgentLinkOptions options;
    options.runtime_directory = agent.run();
    auto link = AgentLink::attach(options);
    EXPECT_TRUE(link) << (link ? "" : link.error().to_string());
    return link ? std::move(*link) : nullptr;
  }
  /// A process of its own that holds the names in `demo`.
  std::unique_ptr<ChildProcess> start_holder(const AgentProcess& agent,
                                             const std::vector<std::string>& names,
                                             const std::string& address = "engine") {
    std::vector<std::string> arguments = {test_support::program_path("godwit-test-holder"),
                                          agent.run(), address, "demo"};
    arguments.insert(arguments.end(), names.begin(), names.end());
    auto holder = std::make_unique<ChildProcess>(arguments);
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto line = holder->read_line();
      EXPECT_TRUE(line && line->starts_with("bound ")) << line.value_or("nothing");
    }
    return holder;
  }

  test_support::TemporaryFolder folder_;
  std::string directory_ = "local:" + folder_.path() + "/directory";
};

}  // namespace godwit::node_tests
