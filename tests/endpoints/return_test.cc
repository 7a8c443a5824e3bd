// The way back to the better transport, under a load whose every operation is checked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <future>
#include <thread>

#include "endpoints/forwarding_resolver.h"
#include "godwit/godwit.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
using fabric::TransportKind;
using Clock = std::chrono::steady_clock;

constexpr auto kLong = 20s;  // only reached when something is broken

struct Operation {
  std::uint64_t number;
  std::uint64_t is_call;
};

/// Takes operations in their order, each once, and answers the calls.
class Ledger {
 public:
  void run(Endpoint& me, std::stop_token stop) {
    while (auto message = me.receive(stop)) {
      Operation operation{};
      ASSERT_GE(message->payload().size(), sizeof operation);
      std::memcpy(&operation, message->payload().data(), sizeof operation);
      if (operation.number != last_ + 1) ++wrong_;
      last_ = operation.number;
      if (operation.is_call == 0) continue;
      auto request = me.as_request(std::move(*message));
      ASSERT_TRUE(request);
      ASSERT_TRUE(me.reply(std::move(*request), std::as_bytes(std::span(&operation, 1))));
    }
  }
  std::uint64_t last() const { return last_; }
  std::uint64_t wrong() const { return wrong_; }

 private:
  std::atomic<std::uint64_t> last_{0}, wrong_{0};
};

class Return : public ::testing::Test {
 protected:
  void start(std::vector<TransportKind> transports) {
    ProcessOptions options;
    options.transports = std::move(transports);
    options.return_pace = {10ms, 100ms};
    auto process = Process::embedded(options);
    ASSERT_TRUE(process) << process.error().to_string();
    process_ = std::move(*process);
    auto me = process_->bind_anonymous("demo");
    ASSERT_TRUE(me) << me.error().to_string();
    me_ = std::move(*me);
    std::promise<void> bound;
    server_ = std::jthread([this, &bound](std::stop_token stop) {
      auto endpoint = process_->bind("demo/ledger");
      ASSERT_TRUE(endpoint) << endpoint.error().to_string();
      bound.set_value();
      ledger_.run(*endpoint, stop);
    });
    bound.get_future().wait();
    auto remote = me_.lookup("demo/ledger", kLong);
    ASSERT_TRUE(remote) << remote.error().to_string();
    to_ = *remote;
  }
  void TearDown() override {
    server_.request_stop();
    if (server_.joinable()) server_.join();
    me_ = Endpoint();
    process_.reset();
  }

  /// Keeps the window full of sends and calls until `done`; false after kLong.
  bool load_until(const std::function<bool()>& done) {
    const auto limit = Clock::now() + kLong;
    while (!done()) {
      if (Clock::now() > limit) return false;
      for (int i = 0; i < 16 && issue(); ++i) {
      }
      process_->progress();
    }
    return true;
  }
  bool load_until_over(TransportKind kind) {
    return load_until([&] { return transport() == kind; });
  }
  void load_for(std::chrono::milliseconds time) {
    const auto end = Clock::now() + time;
    load_until([&] { return Clock::now() >= end; });
  }
  /// Cuts connections, continuing over `next`, until the channel has been over `kind` for `time`
  /// without a break. One cut may not be enough: a dial of the peer's that was under way is not
  /// cut, and its connection takes over when it is made.
  bool cut_until_over(TransportKind kind, std::optional<TransportKind> next,
                      std::chrono::milliseconds time) {
    auto since = Clock::now();
    return load_until([&] {
      const auto now = Clock::now();
      const auto over = transport();
      if (over != kind) {
        if (over) process_->cut_connections(next);
        since = now;
      }
      return over == kind && now - since >= time;
    });
  }
  std::optional<TransportKind> transport() { return process_->transport_to(me_, to_); }

  /// Nothing lost, doubled or out of order.
  void expect_clean_audit() {
    ASSERT_TRUE(process_->run_until([&] { return answered_ == calls_; }, kLong))
        << answered_ << " of " << calls_;
    Operation last{issued_ + 1, 1};
    auto reply = me_.call(to_, std::as_bytes(std::span(&last, 1)), kLong);
    ASSERT_TRUE(reply) << reply.error().to_string();
    EXPECT_EQ(ledger_.last(), issued_ + 1);
    EXPECT_EQ(ledger_.wrong(), 0u);
    EXPECT_EQ(wrong_replies_, 0u);
    EXPECT_GT(calls_, 0u);
  }

  /// Where the engines listen for shm.
  std::vector<std::filesystem::path> shm_sockets() {
    std::vector<std::filesystem::path> found;
    for (const auto& entry :
         std::filesystem::directory_iterator(process_->resolver().runtime_directory())) {
      if (entry.path().extension() == ".shm") found.push_back(entry.path());
    }
    return found;
  }

  std::unique_ptr<Process> process_;
  Endpoint me_;
  Remote to_;
  Ledger ledger_;
  std::jthread server_;

 private:
  bool issue() {
    const std::uint64_t number = issued_ + 1;
    const Operation operation{number, number % 5 == 0 ? 1u : 0u};
    // Now and then a payload that does not travel inline.
    const std::size_t size = number % 997 == 0 ? 60'000 : sizeof operation + number % 300;
    bytes_.assign(size, static_cast<std::byte>(number));
    std::memcpy(bytes_.data(), &operation, sizeof operation);
    const auto accepted = operation.is_call == 0
                              ? me_.try_send(to_, bytes_)
                              : me_.call_async(to_, bytes_, [this, number](Result<Message> reply) {
                                  Operation echoed{};
                                  if (reply && reply->payload().size() == sizeof echoed)
                                    std::memcpy(&echoed, reply->payload().data(), sizeof echoed);
                                  if (echoed.number != number) ++wrong_replies_;
                                  ++answered_;
                                });
    if (!accepted) {
      EXPECT_EQ(accepted.error().code, Errc::would_block) << accepted.error().to_string();
      return false;
    }
    issued_ = number;
    if (operation.is_call != 0) ++calls_;
    return true;
  }

  std::uint64_t issued_ = 0, calls_ = 0, answered_ = 0, wrong_replies_ = 0;
  std::vector<std::byte> bytes_;
};

TEST_F(Return, ChannelsReturnToShmOnceItWorksAgain) {
  start({TransportKind::shm, TransportKind::tcp});
  ASSERT_TRUE(load_until_over(TransportKind::shm));
  for (int round = 0; round < 4; ++round) {
    // The better transport fails: nobody can be reached by it.
    const auto sockets = shm_sockets();
    ASSERT_EQ(sockets.size(), 2u);
    for (const auto& path : sockets) std::filesystem::rename(path, path.string() + ".away");
    ASSERT_TRUE(cut_until_over(TransportKind::tcp, {}, 0ms));
    // Attempts to return fail meanwhile, and traffic does not notice.
    const std::uint64_t before = ledger_.last();
    ASSERT_TRUE(cut_until_over(TransportKind::tcp, {}, 150ms));
    EXPECT_GT(ledger_.last(), before);
    for (const auto& path : sockets) std::filesystem::rename(path.string() + ".away", path);
    ASSERT_TRUE(load_until_over(TransportKind::shm)) << "it did not return";
  }
  expect_clean_audit();
}

TEST_F(Return, ManyChangesUnderLoadLoseAndDoubleNothing) {
  start({TransportKind::shm, TransportKind::tcp});
  for (int round = 0; round < 40; ++round) {
    ASSERT_TRUE(load_until_over(TransportKind::shm)) << round;
    load_for(std::chrono::milliseconds(round % 7));
    process_->cut_connections(TransportKind::tcp);
  }
  ASSERT_TRUE(load_until_over(TransportKind::shm));
  expect_clean_audit();
}

TEST_F(Return, ReturnsToUcxAsWell) {
  start({TransportKind::ucx, TransportKind::tcp});
  if (!load_until([&] { return transport().has_value(); }) || transport() != TransportKind::ucx)
    GTEST_SKIP() << "this build or machine has no ucx";
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(cut_until_over(TransportKind::tcp, TransportKind::tcp, 0ms)) << round;
    ASSERT_TRUE(load_until_over(TransportKind::ucx)) << round;
  }
  expect_clean_audit();
}

// A better transport that accepts and says nothing: it is not waited for.
TEST_F(Return, ASilentBetterTransportHoldsNobodyUp) {
  start({TransportKind::shm, TransportKind::tcp});
  ASSERT_TRUE(load_until_over(TransportKind::shm));
  const auto sockets = shm_sockets();
  std::vector<int> silent;
  for (const auto& path : sockets) {
    std::filesystem::rename(path, path.string() + ".away");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const int listener = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener, 8), 0);
    silent.push_back(listener);
  }
  process_->cut_connections();
  ASSERT_TRUE(load_until_over(TransportKind::tcp));
  // The dial of shm was still under way when tcp took over.
  bool dialing = false;
  for (const int listener : silent) {
    for (int dialed = ::accept(listener, nullptr, nullptr); dialed >= 0;
         dialed = ::accept(listener, nullptr, nullptr)) {
      pollfd look{dialed, POLLRDHUP, 0};
      dialing = dialing || ::poll(&look, 1, 0) == 0;
      ::close(dialed);
    }
  }
  EXPECT_TRUE(dialing);
  for (const int listener : silent) ::close(listener);
  for (const auto& path : sockets) std::filesystem::rename(path.string() + ".away", path);
  ASSERT_TRUE(load_until_over(TransportKind::shm)) << "it did not return";
  expect_clean_audit();
}

// Bytes of a copy that a connection is about to write must not arrive after the copy has ended.
TEST_F(Return, CopiesSurviveTheChanges) {
  start({TransportKind::shm, TransportKind::tcp});
  constexpr std::size_t kSize = 6 << 20;
  std::vector<std::byte> owned(kSize);
  std::promise<GrantRef> granted;
  std::jthread owner([&](std::stop_token stop) {
    auto endpoint = process_->bind("demo/owner");
    ASSERT_TRUE(endpoint);
    auto grant = endpoint->grant(owned, {Rights::read_write, {}});
    ASSERT_TRUE(grant) << grant.error().to_string();
    granted.set_value(*grant);
    (void)process_->run_until([] { return false; }, stop);
    EXPECT_TRUE(endpoint->revoke(*grant, kLong));
  });
  const GrantRef grant = granted.get_future().get();
  for (unsigned round = 0; round < 30; ++round) {
    std::vector<std::byte> bytes(kSize, static_cast<std::byte>(round));
    process_->cut_connections(TransportKind::tcp);
    auto put = me_.copy_to(grant, 0, bytes, kLong);
    ASSERT_TRUE(put) << put.error().to_string();
    std::vector<std::byte> got(kSize, std::byte{0xff});
    auto taken = me_.copy_from(grant, 0, got, kLong);
    ASSERT_TRUE(taken) << taken.error().to_string();
    ASSERT_EQ(got, bytes) << round;
  }
}

// One directory for two processes of different habits: neither becomes its listener.
class SharedDirectory final : public ForwardingResolver {
 public:
  using ForwardingResolver::ForwardingResolver;
  void set_listener(Listener*) override {}
};

TEST(ReturnOfTwo, SidesOfDifferentOrdersDoNotTakeTurns) {
  auto made = EmbeddedDirectory::create();
  ASSERT_TRUE(made) << made.error().to_string();
  const std::shared_ptr<EmbeddedDirectory> directory = std::move(*made);
  const auto process_with = [&](std::vector<TransportKind> order) {
    ProcessOptions options;
    options.transports = std::move(order);
    options.return_pace = {5ms, 20ms};
    return Process::with_resolver(std::make_unique<SharedDirectory>(directory), options);
  };
  auto one = process_with({TransportKind::shm, TransportKind::tcp});
  auto other = process_with({TransportKind::tcp, TransportKind::shm});
  ASSERT_TRUE(one && other);
  std::promise<void> bound;
  std::jthread server([&](std::stop_token stop) {
    auto echo = (*other)->bind("demo/echo");
    ASSERT_TRUE(echo) << echo.error().to_string();
    // It knows the way back, too, and would dial tcp.
    bound.set_value();
    while (auto request = echo->receive_request(stop)) {
      const std::vector<std::byte> copy(request->payload().begin(), request->payload().end());
      EXPECT_TRUE(echo->lookup(request->source(), kLong));
      EXPECT_TRUE(echo->reply(std::move(*request), copy));
    }
  });
  bound.get_future().wait();
  auto me = (*one)->bind_anonymous("demo");
  ASSERT_TRUE(me) << me.error().to_string();
  auto echo = me->lookup("demo/echo", kLong);
  ASSERT_TRUE(echo) << echo.error().to_string();
  const auto call = [&] {
    auto reply = me->call(*echo, bytes_of("x"), kLong);
    ASSERT_TRUE(reply) << reply.error().to_string();
  };
  const auto expect_shm_for = [&](std::chrono::milliseconds time) {
    for (const auto end = Clock::now() + time; Clock::now() < end;) {
      call();
      EXPECT_EQ((*one)->transport_to(*me, *echo), TransportKind::shm);
    }
  };
  call();
  expect_shm_for(150ms);
  // Whoever dials decides: also after a break.
  (*one)->cut_connections(TransportKind::tcp);
  const auto limit = Clock::now() + kLong;
  do {
    call();
  } while ((*one)->transport_to(*me, *echo) != TransportKind::shm && Clock::now() < limit);
  expect_shm_for(150ms);
}

TEST_F(Return, APaceOfZeroStays) {
  ProcessOptions options;
  options.transports = {TransportKind::shm, TransportKind::tcp};
  options.return_pace = {0ms, 0ms};
  auto process = Process::embedded(options);
  ASSERT_TRUE(process);
  auto me = (*process)->bind("demo/me");
  ASSERT_TRUE(me);
  auto to = me->lookup("demo/me", kLong);
  ASSERT_TRUE(to);
  ASSERT_TRUE(me->send(*to, bytes_of("one"), kLong));
  ASSERT_TRUE(me->receive(kLong));
  (*process)->cut_connections(TransportKind::tcp);
  ASSERT_TRUE(me->send(*to, bytes_of("two"), kLong));
  ASSERT_TRUE(me->receive(kLong));
  (void)(*process)->run_until([] { return false; }, 100ms);
  EXPECT_EQ((*process)->transport_to(*me, *to), TransportKind::tcp);
}

}  // namespace
}  // namespace godwit
