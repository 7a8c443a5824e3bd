// What an agent refuses, survives, and does not spend.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <thread>

#include "admin_client.h"
#include "godwit/agent_protocol.h"
#include "node/agent_fixture.h"

namespace godwit::node_tests {
namespace {

class AgentFaultsTest : public AgentTest {
 protected:
  std::vector<std::string> arguments(const std::string& node) const {
    return {"--node",      node,       "--run",   folder_.path() + "/" + node,
            "--directory", directory_, "--state", folder_.path() + "/state"};
  }
};

int connect_to(const AgentProcess& agent) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = agent_socket_path(agent.run());
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

/// What the threads of a process have run so far. Not of /proc/PID/stat, which charges a whole tick
/// of 10 ms to whoever happens to run when one ends.
std::chrono::nanoseconds cpu_time(pid_t pid) {
  std::chrono::nanoseconds sum{};
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    std::int64_t ran = 0;
    if (std::ifstream(task.path() / "schedstat") >> ran) sum += std::chrono::nanoseconds(ran);
  }
  return sum;
}

TEST_F(AgentFaultsTest, RefusesASecondAgentInOneRunDirectory) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  const auto second = AgentProcess::run_to_end(arguments("one"));
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.output.find("another agent (pid " + std::to_string(one->pid()) + ")"),
            std::string::npos)
      << second.output;
  EXPECT_TRUE(attach(*one));
}

TEST_F(AgentFaultsTest, RefusesASecondAgentOfTheSameNode) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  auto args = arguments("one");
  args[3] = folder_.path() + "/elsewhere";
  const auto second = AgentProcess::run_to_end(args);
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.output.find("registered as node 'one'"), std::string::npos) << second.output;
}

TEST_F(AgentFaultsTest, RefusesARunDirectoryThatEverybodyCanReach) {
  const std::string open = folder_.path() + "/one";
  ASSERT_EQ(::mkdir(open.c_str(), 0700), 0);
  ASSERT_EQ(::chmod(open.c_str(), 0755), 0);
  const auto ended = AgentProcess::run_to_end(arguments("one"));
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.output.find("chmod o="), std::string::npos) << ended.output;
}

TEST_F(AgentFaultsTest, CheckSaysWhatIsWrongWithAConfiguration) {
  const std::string path = folder_.path() + "/godwitd.toml";
  const auto check = [&](const std::string& text) {
    std::ofstream(path) << text;
    return AgentProcess::run_to_end({"--check", "--config", path});
  };
  EXPECT_EQ(check("node = \"a\"\n").status, 0);
  const auto unknown = check("node = \"a\"\nnoed = \"b\"\n");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.output.find(path + ":2:1: unknown key 'noed'"), std::string::npos)
      << unknown.output;
  EXPECT_EQ(AgentProcess::run_to_end({"--check", "--config", folder_.path() + "/none"}).status, 2);
}

TEST_F(AgentFaultsTest, AttachingWithoutAnAgentSaysWhatToDo) {
  AgentLinkOptions options;
  options.runtime_directory = folder_.path() + "/nobody";
  const auto link = AgentLink::attach(options);
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, Errc::agent_unavailable);
  EXPECT_NE(link.error().message.find("start godwitd"), std::string::npos);
  EXPECT_NE(link.error().message.find("Process::embedded"), std::string::npos);
}

TEST_F(AgentFaultsTest, SurvivesMalformedMessages) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  const auto witness = attach(*one);
  ASSERT_TRUE(bind_at(*witness, "demo", "witness"));

  // A good conversation, to be damaged.
  std::string good;
  std::uint64_t number = 1;
  const auto add = [&](endpoints::proto::Request request) {
    request.set_number(number++);
    agent_protocol::append(request, good);
  };
  endpoints::proto::Request request;
  request.mutable_hello()->set_version_min(1);
  request.mutable_hello()->set_version_max(1);
  request.mutable_hello()->mutable_process()->set_process(77);
  add(request);
  request.mutable_bind()->set_nonce(5);
  request.mutable_bind()->add_engine_addresses("x");
  request.mutable_bind()->add_items()->set_dc("demo");
  add(request);
  request.mutable_claim()->add_endpoints()->set_name("no slash");
  request.mutable_claim()->add_endpoints()->set_name("/");
  request.mutable_claim()->set_last(true);
  add(request);
  request.mutable_subscribe()->add_places()->set_name("demo");
  request.mutable_subscribe()->mutable_places(0)->set_dc(1);
  add(request);
  request.mutable_wait_bound()->set_name("demo/witless");
  add(request);
  request.mutable_list_endpoints()->set_cursor(99);
  add(request);

  std::mt19937_64 random(20'240'611);
  for (int round = 0; round < 400; ++round) {
    std::string bytes;
    if (round % 4 == 0) {
      bytes.resize(1 + random() % 300);
      for (char& byte : bytes) byte = static_cast<char>(random());
    } else {
      bytes = good;
      for (std::uint64_t flips = random() % 6; flips > 0; --flips) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      if (round % 3 == 0) bytes.resize(1 + random() % bytes.size());
    }
    const int fd = connect_to(*one);
    ASSERT_GE(fd, 0) << "in round " << round << ": " << one->log();
    ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ::close(fd);
  }
  EXPECT_TRUE(resolve(*witness, "demo/witness"));
  auto client = node::AdminClient::connect(one->run());
  ASSERT_TRUE(client);
  EXPECT_EQ(client->status()->pid(), static_cast<std::uint32_t>(one->pid()));
}

TEST_F(AgentFaultsTest, AnIdleAgentUsesNoCpu) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  const auto link = attach(*one);
  ASSERT_TRUE(bind_at(*link, "demo", "idle"));
  // Past what follows a start: the load's rewrite, the first sweep's grace.
  std::this_thread::sleep_for(4s);
  const auto before = cpu_time(one->pid());
  ASSERT_GT(before, 0ns) << "this kernel does not say what threads have run";
  std::this_thread::sleep_for(2s);
  const auto used = cpu_time(one->pid()) - before;
  EXPECT_LT(used, 10ms) << std::chrono::duration<double, std::milli>(used).count() << " ms of 2 s";
}

TEST_F(AgentFaultsTest, AFullDiskUnderTheDirectoryIsAnErrorAndPasses) {
  const std::string small = folder_.path() + "/small";
  ASSERT_EQ(::mkdir(small.c_str(), 0700), 0);
  if (::mount("none", small.c_str(), "tmpfs", 0, "size=2m") != 0) {
    GTEST_SKIP() << "this user cannot mount a small file system: " << std::strerror(errno);
  }
  struct Unmount {
    std::string path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } unmount{small};
  directory_ = "local:" + small + "/directory";
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  const auto link = attach(*one);
  const auto before = bind_at(*link, "demo", "before");
  ASSERT_TRUE(before);

  {
    std::ofstream filler(small + "/filler", std::ios::binary);
    const std::string block(4096, 'x');
    while (filler.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  Result<EndpointPlace> full = before;
  for (int i = 0; full && i < 200; ++i) {
    full = bind_at(*link, "demo", "full/" + std::to_string(i), std::string(4000, 'x'));
  }
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Errc::no_space) << full.error().to_string();
  EXPECT_TRUE(resolve(*link, "demo/before"));
  ASSERT_EQ(::unlink((small + "/filler").c_str()), 0);
  const auto after = bind_at(*link, "demo", "after");
  EXPECT_TRUE(after) << after.error().to_string();
}

TEST_F(AgentFaultsTest, ADcIsUsableOnANodeThatHasItsKeyAlone) {
  const auto one = start_agent("one");
  ASSERT_TRUE(one);
  AgentOptions options;
  options.node = "two";
  options.run = folder_.path() + "/two";
  options.directory = directory_;
  options.state = folder_.path() + "/another state";
  const auto two = AgentProcess::start(options);
  ASSERT_TRUE(two);
  auto here = node::AdminClient::connect(one->run()),
       there = node::AdminClient::connect(two->run());
  ASSERT_TRUE(here && there);
  endpoints::proto::CreateDcRequest create;
  create.set_name("plant/7");
  EXPECT_EQ(here->create_dc(create).error().code, Errc::invalid_argument);
  create.set_name("plant");
  ASSERT_TRUE(here->create_dc(create));
  EXPECT_EQ(here->create_dc(create).error().code, Errc::name_taken);
  EXPECT_EQ(there->create_dc(create).error().code, Errc::name_taken);

  const auto link = attach(*two);
  const auto without = bind_at(*link, "plant", "pump");
  EXPECT_EQ(without.error().code, Errc::not_found);
  EXPECT_NE(without.error().message.find("no key"), std::string::npos) << without.error().message;
  const auto key = here->export_key("plant");
  ASSERT_TRUE(key);
  EXPECT_EQ(there->export_key("plant").error().code, Errc::not_found);
  EXPECT_EQ(there->import_key("plant", std::string(64, '0')).error().code, Errc::wrong_key);
  EXPECT_EQ(there->import_key("plant", "short").error().code, Errc::invalid_argument);
  ASSERT_TRUE(there->import_key("plant", *key));
  const auto with = bind_at(*link, "plant", "pump");
  EXPECT_TRUE(with) << with.error().to_string();
  EXPECT_EQ(here->remove_dc("plant").error().code, Errc::invalid_argument);
  ASSERT_TRUE(unbind(*link, with->id));
  EXPECT_TRUE(here->remove_dc("plant"));
  EXPECT_EQ(here->list_dcs()->size(), 1u);
}

TEST_F(AgentFaultsTest, ListsEndpointsInPagesAndByFilter) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  const auto a = attach(*one), b = attach(*two);
  std::vector<BindRequest> requests;
  for (int i = 0; i < 25; ++i) requests.push_back({"demo", "item/" + std::to_string(i), "engine"});
  ASSERT_TRUE(
      ask<std::vector<Result<EndpointPlace>>>([&](auto done) { a->bind_many(requests, done); }));
  ASSERT_TRUE(bind_at(*b, "demo", "other"));
  auto client = node::AdminClient::connect(two->run());
  ASSERT_TRUE(client);
  const auto count = [&](auto set) {
    endpoints::proto::ListEndpointsRequest filter;
    filter.set_page_size(7);
    set(filter);
    std::set<std::uint32_t> slots;
    EXPECT_TRUE(client->list_endpoints(filter, [&](const auto& info) {
      EXPECT_EQ(info.dc_name(), "demo");
      EXPECT_EQ(info.pid(), static_cast<std::uint32_t>(::getpid()));
      slots.insert(info.place().slot());
      return true;
    }));
    return slots.size();
  };
  EXPECT_EQ(count([](auto&) {}), 26u);
  EXPECT_EQ(count([](auto& filter) { filter.set_name_prefix("demo/item/1"); }), 11u);
  EXPECT_EQ(count([](auto& filter) { filter.set_node("two"); }), 1u);
  const auto processes = client->list_processes();
  ASSERT_TRUE(processes);
  ASSERT_EQ(processes->size(), 1u);
  EXPECT_EQ(processes->front().endpoints(), 1u);
  EXPECT_TRUE(processes->front().connected());
}

class AgentScaleHeavyTest : public AgentTest {};

TEST_F(AgentScaleHeavyTest, HundredThousandEndpointsAreBoundAndResolvedByName) {
  const auto one = start_agent("one"), two = start_agent("two");
  ASSERT_TRUE(one && two);
  constexpr std::size_t kCount = 100'000;
  AgentLinkOptions options;
  options.request_timeout = 300s;
  options.runtime_directory = one->run();
  const auto a = AgentLink::attach(options).value();
  options.runtime_directory = two->run();
  const auto b = AgentLink::attach(options).value();
  std::vector<BindRequest> requests;
  for (std::size_t i = 0; i < kCount; ++i) {
    requests.push_back({"demo", "n" + std::to_string(i), "engine"});
  }
  const auto start = std::chrono::steady_clock::now();
  const auto bound = ask<std::vector<Result<EndpointPlace>>>(
      [&](auto done) { a->bind_many(requests, done); }, 300s);
  ASSERT_TRUE(bound) << bound.error().to_string();
  for (const auto& each : *bound) ASSERT_TRUE(each) << each.error().to_string();
  const auto bound_at = std::chrono::steady_clock::now();

  std::promise<void> all;
  std::atomic<std::size_t> left{kCount}, wrong{0};
  for (std::size_t i = 0; i < kCount; ++i) {
    b->resolve("demo/n" + std::to_string(i), [&, i](const Result<EndpointPlace>& place) {
      if (!place || place->id != (*bound)[i]->id) ++wrong;
      if (--left == 0) all.set_value();
    });
  }
  ASSERT_EQ(all.get_future().wait_for(300s), std::future_status::ready);
  EXPECT_EQ(wrong, 0u);
  const auto resolved_at = std::chrono::steady_clock::now();
  const auto seconds = [](auto time) { return std::chrono::duration<double>(time).count(); };
  std::printf("100,000 endpoints: bound in %.1f s, resolved in %.1f s\n", seconds(bound_at - start),
              seconds(resolved_at - bound_at));
  for (std::size_t i = 0; i < kCount; i += 997) {
    ASSERT_NE(b->cached("demo/n" + std::to_string(i)), nullptr);
  }
}

}  // namespace
}  // namespace godwit::node_tests
