// The law of the hot path: messages between polling peers of one node cost no system call and no
// allocation, and neither does a lookup of a known name.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>

#include "allocations.h"
#include "godwit/godwit.h"
#include "no_syscalls.h"

namespace scale {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kWarmUp = 1000;
constexpr int kMeasured = 1000;
// While a polling engine waits, it looks at its descriptors this often
// (Engine::kDescriptorInterval).
constexpr auto kLookInterval = 20us;

godwit::ProcessOptions polling() {
  godwit::ProcessOptions options;
  options.transports = {godwit::fabric::TransportKind::shm};
  options.spin = std::chrono::nanoseconds::max();
  return options;
}

// For use under the filter: printf could allocate or ask what the file is.
void say(const char* what, std::uint64_t value) {
  std::array<char, 128> text{};
  const int size = std::snprintf(text.data(), text.size(), "%s: %llu\n", what,
                                 static_cast<unsigned long long>(value));
  [[maybe_unused]] const auto written =
      ::write(STDOUT_FILENO, text.data(), static_cast<std::size_t>(size));
}

enum class Exchange { messages, calls };

// Answers until the process ends. Arms the filter for itself at the message "arm".
void echo(godwit::Process& process, Exchange exchange, std::atomic<std::uint64_t>& allocations) {
  auto me = process.bind("dc/echo");
  if (!me) return say("bind failed", 1);
  std::optional<godwit::Remote> peer;
  std::uint64_t before = 0;
  bool armed = false;
  while (true) {
    bool arm = false;
    if (exchange == Exchange::calls) {
      auto request = me->receive_request();
      if (!request) return;
      arm = request->text() == "arm";
      if (!me->reply(std::move(*request), godwit::bytes_of("reply"))) return;
    } else {
      auto message = me->receive();
      if (!message) return;
      arm = message->text() == "arm";
      if (!peer) peer = *me->lookup(message->source());
      if (!me->send(*peer, message->payload())) return;
    }
    if (arm) {
      if (!forbid_system_calls().empty()) return;
      before = allocations_of_this_thread();
      armed = true;
    }
    if (armed) allocations = allocations_of_this_thread() - before;
  }
}

// In the child. Ends it without a destructor: those may make system calls.
bool exchange_without_system_calls(Exchange exchange) {
  auto process = godwit::Process::embedded(polling());
  if (!process) return false;
  std::atomic<std::uint64_t> allocations_there{0};
  std::thread([&] { echo(**process, exchange, allocations_there); }).detach();
  auto me = (*process)->bind_anonymous("dc");
  if (!me) return false;
  auto peer = me->wait_bound("dc/echo", 10s);
  if (!peer) return false;

  const std::string payload(64, 'x');
  const auto once = [&](std::string_view text) {
    if (exchange == Exchange::calls) return me->call(*peer, godwit::bytes_of(text)).has_value();
    return me->send(*peer, godwit::bytes_of(text)).has_value() && me->receive().has_value();
  };
  for (int i = 0; i < kWarmUp; ++i) {
    if (!once(payload)) return false;
  }
  if ((*process)->transport_to(*me, *peer) != godwit::fabric::TransportKind::shm) {
    say("not over shm", 1);
    return false;
  }
  if (!once("arm") || !forbid_system_calls().empty()) return false;
  if (!once(payload)) return false;
  const std::uint64_t before = allocations_of_this_thread();
  const auto start = Clock::now();
  for (int i = 0; i < kMeasured; ++i) {
    if (!once(payload)) ::_exit(4);
  }
  const auto took = Clock::now() - start;
  const std::uint64_t allocations = allocations_of_this_thread() - before;
  const auto looks_allowed = static_cast<std::uint64_t>(2 * (took / kLookInterval) + 4);
  say("allocations of the sender", allocations);
  say("allocations of the receiver", allocations_there);
  say("looks at descriptors", epoll_looks());
  say("of at most", looks_allowed);
  ::_exit(allocations == 0 && allocations_there == 0 && epoll_looks() <= looks_allowed ? 0 : 5);
}

// `Real` because peers that never sleep need the machine for themselves: each runs alone.
class ScaleHotPathReal : public ::testing::TestWithParam<Exchange> {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "a sanitizer's runtime makes system calls of its own";
    const auto filter = in_child([] {
      const std::string why = forbid_system_calls();
      if (!why.empty()) say(why.c_str(), 0);
      return why.empty();
    });
    if (!filter.ok) GTEST_SKIP() << filter.output;
    if (clock_needs_system_call()) GTEST_SKIP() << "the clock of this machine needs a system call";
  }
};

TEST_P(ScaleHotPathReal, NoSystemCallAndNoAllocation) {
  const auto result = in_child([] { return exchange_without_system_calls(GetParam()); });
  EXPECT_TRUE(result.ok) << result.output;
}

INSTANTIATE_TEST_SUITE_P(Exchanges, ScaleHotPathReal,
                         ::testing::Values(Exchange::messages, Exchange::calls),
                         [](const auto& test) {
                           return test.param == Exchange::messages ? "messages" : "calls";
                         });

class ScaleLookup : public ScaleHotPathReal {};

TEST_P(ScaleLookup, ACachedNameCostsNoSystemCall) {
  const auto result = in_child([] {
    auto process = godwit::Process::embedded(polling());
    if (!process) return false;
    auto server = (*process)->bind("dc/server");
    auto me = (*process)->bind_anonymous("dc");
    if (!server || !me || !me->lookup("dc/server")) return false;
    if (!forbid_system_calls().empty()) return false;
    for (int i = 0; i < 1000; ++i) {
      const auto found = me->lookup("dc/server");
      if (!found || found->id() != server->id()) ::_exit(4);
    }
    ::_exit(epoll_looks() == 0 ? 0 : 5);
  });
  EXPECT_TRUE(result.ok) << result.output;
}

INSTANTIATE_TEST_SUITE_P(Names, ScaleLookup, ::testing::Values(Exchange::messages),
                         [](const auto&) { return "known"; });

// The filter itself must bite, or the tests above prove nothing.
TEST(ScaleFilter, NamesTheForbiddenSystemCall) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's runtime makes system calls of its own";
  const auto result = in_child([] {
    if (const auto why = forbid_system_calls(); !why.empty()) {
      say("skip", 0);
      return false;
    }
    ::getppid();
    return true;
  });
  if (result.output.starts_with("skip")) GTEST_SKIP() << "no seccomp here";
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.output.find("forbidden system call"), std::string::npos) << result.output;
}

TEST(ScaleAllocations, AreCounted) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer's runtime has the allocator";
  const auto before = allocations_of_this_thread();
  auto* volatile memory = new std::array<char, 100>;
  delete memory;
  EXPECT_EQ(allocations_of_this_thread(), before + 1);
}

}  // namespace
}  // namespace scale
