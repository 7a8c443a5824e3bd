// Links that are cut, without Godwit: only the kernel's sockets are at the ends.
#include "local_cluster/network.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <csignal>
#include <optional>
#include <string>
#include <string_view>

#include "leftovers.h"
#include "local_cluster/child_process.h"
#include "local_cluster/cluster.h"
#include "local_cluster/worker_line.h"

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::ChildOptions;
using godwit::local_cluster::ChildProcess;
using godwit::local_cluster::Descriptor;
using godwit::local_cluster::Network;
using godwit::local_cluster::WorkerLine;

constexpr std::uint16_t kPort = 7000;
constexpr int kArrivalLimit = 20'000;  // ms

sockaddr_in socket_address(const std::string& host) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

bool wait_for(int fd, short events) {
  pollfd ready{fd, events, 0};
  return ::poll(&ready, 1, kArrivalLimit) == 1;
}

std::string receive(int fd) {
  std::array<char, 64> text;
  if (!wait_for(fd, POLLIN)) return "nothing";
  const ssize_t size = ::recv(fd, text.data(), text.size(), 0);
  return size < 0 ? "error" : std::string(text.data(), static_cast<std::size_t>(size));
}

class NetworkReal : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto able = Network::supported(); !able) GTEST_SKIP() << able.error().message;
    auto network = Network::make({"a", "b", "c"});
    ASSERT_TRUE(network) << network.error().to_string();
    network_.emplace(std::move(*network));
  }

  Descriptor bound(const std::string& host, int type) {
    auto socket = network_->open_socket(host, type);
    EXPECT_TRUE(socket) << socket.error().to_string();
    const sockaddr_in address = socket_address(network_->address(host));
    EXPECT_EQ(::bind(socket->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    return std::move(*socket);
  }
  void send(const Descriptor& from, const std::string& to, std::string_view text) {
    const sockaddr_in address = socket_address(network_->address(to));
    EXPECT_EQ(::sendto(from.get(), text.data(), text.size(), 0,
                       reinterpret_cast<const sockaddr*>(&address), sizeof address),
              static_cast<ssize_t>(text.size()));
  }

  std::optional<Network> network_;
};

#define EXPECT_DONE(result)                                      \
  do {                                                           \
    const auto done = (result);                                  \
    EXPECT_TRUE(done) << (done ? "" : done.error().to_string()); \
  } while (false)

TEST_F(NetworkReal, CutsOneDirection) {
  const Descriptor a = bound("a", SOCK_DGRAM);
  const Descriptor b = bound("b", SOCK_DGRAM);
  EXPECT_DONE(network_->cut("a", "b"));
  send(a, "b", "dropped");
  send(b, "a", "the other way");
  EXPECT_EQ(receive(a.get()), "the other way");
  EXPECT_DONE(network_->cut("a", "b"));  // again is nothing
  EXPECT_DONE(network_->heal("b", "a"));
  // Datagrams of one link keep their order: had the first not been dropped, it would come first.
  send(a, "b", "healed");
  EXPECT_EQ(receive(b.get()), "healed");
}

TEST_F(NetworkReal, CutsAnEstablishedConnection) {
  const Descriptor listener = bound("b", SOCK_STREAM);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  auto client = network_->open_socket("a", SOCK_STREAM);
  ASSERT_TRUE(client);
  const sockaddr_in address = socket_address(network_->address("b"));
  ::connect(client->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  ASSERT_TRUE(wait_for(listener.get(), POLLIN));
  const Descriptor server(::accept(listener.get(), nullptr, nullptr));
  ASSERT_TRUE(wait_for(client->get(), POLLOUT));

  EXPECT_DONE(network_->cut("a", "b"));
  ASSERT_EQ(::send(client->get(), "late", 4, MSG_NOSIGNAL), 4);
  ASSERT_EQ(::send(server.get(), "through", 7, MSG_NOSIGNAL), 7);
  EXPECT_EQ(receive(client->get()), "through");
  std::array<char, 8> text;
  EXPECT_LT(::recv(server.get(), text.data(), text.size(), MSG_DONTWAIT), 0);
  EXPECT_DONE(network_->heal("a", "b"));
  EXPECT_EQ(receive(server.get()), "late");  // sent again by TCP
}

TEST_F(NetworkReal, IsolatesAndRejoins) {
  const Descriptor a = bound("a", SOCK_DGRAM);
  const Descriptor b = bound("b", SOCK_DGRAM);
  const Descriptor c = bound("c", SOCK_DGRAM);
  EXPECT_DONE(network_->isolate("a"));
  EXPECT_DONE(network_->cut_both("b", "c"));
  send(a, "b", "dropped");
  send(a, "c", "dropped");
  send(b, "a", "dropped");
  send(b, "c", "dropped");
  EXPECT_DONE(network_->rejoin("a"));
  send(b, "c", "still dropped");
  send(a, "c", "from a");
  EXPECT_EQ(receive(c.get()), "from a");
  EXPECT_DONE(network_->heal_all());
  send(b, "c", "from b");
  EXPECT_EQ(receive(c.get()), "from b");
  send(c, "a", "from c");
  EXPECT_EQ(receive(a.get()), "from c");
  send(c, "b", "from c");
  EXPECT_EQ(receive(b.get()), "from c");
}

TEST_F(NetworkReal, SaysWhichHostThereIsNot) {
  EXPECT_EQ(network_->cut("a", "z").error().code, godwit::Errc::invalid_argument);
  EXPECT_EQ(network_->isolate("z").error().code, godwit::Errc::invalid_argument);
  EXPECT_EQ(network_->cut("a", "a").error().code, godwit::Errc::invalid_argument);
  EXPECT_EQ(Network::make({"a", "a"}).error().code, godwit::Errc::invalid_argument);
}

TEST_F(NetworkReal, LeavesNothingBehind) {
  const auto before = interfaces();
  const auto namespace_of = [&](const std::string& host) {
    return inode_of(network_->namespaces_of(host).back());
  };
  const std::uint64_t a = namespace_of("a");
  const std::uint64_t b = namespace_of("b");
  ChildOptions options;
  options.namespaces = network_->namespaces_of("a");
  std::optional<ChildProcess> program;
  {
    auto started = ChildProcess::start({"/bin/cat"}, std::move(options));
    ASSERT_TRUE(started);
    program.emplace(std::move(*started));
  }
  EXPECT_TRUE(is_used(a));
  EXPECT_TRUE(is_used(b));
  EXPECT_EQ(interfaces(), before);
  program.reset();
  network_.reset();
  EXPECT_TRUE(eventually([&] { return !is_used(a) && !is_used(b); }));
  EXPECT_EQ(interfaces(), before);
}

TEST_F(NetworkReal, AKilledOwnerLeavesNothingBehind) {
  const auto before = interfaces();
  auto owner = ChildProcess::start({godwit::local_cluster::this_program(), "--worker", "owner"});
  ASSERT_TRUE(owner);
  const auto said = owner->wait_line(60s);
  ASSERT_TRUE(said);
  const WorkerLine made = WorkerLine::parse(*said);
  ASSERT_EQ(made.what(), "ready") << *said;
  const std::uint64_t a = made.number("namespace_a");
  const std::uint64_t b = made.number("namespace_b");
  const auto program_a = static_cast<pid_t>(made.number("program_a"));
  const auto program_b = static_cast<pid_t>(made.number("program_b"));
  ASSERT_TRUE(is_used(a) && is_used(b) && is_alive(program_a) && is_alive(program_b));
  owner->signal(SIGKILL);
  ASSERT_TRUE(owner->wait(20s));
  EXPECT_TRUE(eventually([&] { return !is_alive(program_a) && !is_alive(program_b); }));
  EXPECT_TRUE(eventually([&] { return !is_used(a) && !is_used(b); }));
  EXPECT_EQ(interfaces(), before);
}

}  // namespace
