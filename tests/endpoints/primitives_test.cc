// Every primitive, between two threads of one process, over each transport.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <coroutine>
#include <future>
#include <numeric>
#include <thread>

#include "godwit/godwit.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
using fabric::TransportKind;

constexpr auto kLong = 20s;  // only reached when something is broken

class Primitives : public ::testing::TestWithParam<TransportKind> {
 protected:
  void SetUp() override {
    ProcessOptions options;
    options.force_transport = GetParam();
    auto process = Process::embedded(options);
    if (!process && process.error().code == Errc::not_supported) {
      GTEST_SKIP() << process.error().to_string();
    }
    ASSERT_TRUE(process) << process.error().to_string();
    process_ = std::move(*process);
    auto me = process_->bind_anonymous("demo");
    ASSERT_TRUE(me) << me.error().to_string();
    me_ = std::move(*me);
  }
  void TearDown() override {
    for (auto& server : servers_) server.request_stop();
    servers_.clear();
    me_ = Endpoint();
    process_.reset();
  }

  /// Runs `body` with an endpoint of that name on a thread of its own; returns once it is bound.
  void serve(const std::string& name, std::function<void(Endpoint&, std::stop_token)> body) {
    std::promise<void> bound;
    auto ready = bound.get_future();
    servers_.emplace_back([this, name, body, &bound](std::stop_token stop) {
      auto endpoint = process_->bind(name);
      ASSERT_TRUE(endpoint) << endpoint.error().to_string();
      bound.set_value();
      body(*endpoint, stop);
    });
    ready.wait();
  }

  void serve_echo(const std::string& name) {
    serve(name, [](Endpoint& echo, std::stop_token stop) {
      while (auto request = echo.receive_request(stop)) {
        std::vector<std::byte> copy(request->payload().begin(), request->payload().end());
        ASSERT_TRUE(echo.reply(std::move(*request), copy));
      }
    });
  }

  Remote lookup(const std::string& name) {
    auto remote = me_.lookup(name, kLong);
    EXPECT_TRUE(remote) << remote.error().to_string();
    return remote ? *remote : Remote();
  }

  std::unique_ptr<Process> process_;
  Endpoint me_;
  std::vector<std::jthread> servers_;
};

std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<std::byte>(i * 31 + seed + (i >> 12));
  return bytes;
}

TEST_P(Primitives, CallsComeBackWithTheirReply) {
  serve_echo("demo/echo");
  const Remote echo = lookup("demo/echo");
  for (const std::size_t size :
       {0ul, 1ul, 63ul, 64ul, 65ul, 2047ul, 2048ul, 2049ul, 70000ul, 1ul << 20}) {
    const auto sent = pattern(size, 7);
    auto reply = me_.call(echo, sent, kLong);
    ASSERT_TRUE(reply) << size << " " << reply.error().to_string();
    EXPECT_TRUE(std::ranges::equal(reply->payload(), sent)) << size;
  }
  EXPECT_EQ(process_->transport_to(me_, echo), GetParam());
}

TEST_P(Primitives, TheLargestMessagePassesAndALargerOneIsRefused) {
  serve_echo("demo/echo");
  const auto sent = pattern(kMaxMessage, 3);
  auto reply = me_.call("demo/echo", sent, kLong);
  ASSERT_TRUE(reply) << reply.error().to_string();
  EXPECT_TRUE(std::ranges::equal(reply->payload(), sent));
  auto refused = me_.call("demo/echo", pattern(kMaxMessage + 1, 3), kLong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::too_large);
  EXPECT_EQ(refused.error().outcome, Outcome::not_executed);
}

TEST_P(Primitives, MessagesKeepTheirOrder) {
  constexpr std::uint32_t kCount = 20000;
  std::promise<std::uint32_t> wrong;
  serve("demo/sink", [&](Endpoint& sink, std::stop_token stop) {
    std::uint32_t bad = 0;
    for (std::uint32_t expected = 0; expected < kCount; ++expected) {
      auto message = sink.receive(Wait(kLong, stop));
      ASSERT_TRUE(message) << message.error().to_string();
      std::uint32_t number = 0;
      std::memcpy(&number, message->payload().data(), sizeof number);
      if (number != expected || message->payload().size() != 4 + expected % 100) ++bad;
    }
    wrong.set_value(bad);
  });
  const Remote sink = lookup("demo/sink");
  for (std::uint32_t i = 0; i < kCount; ++i) {
    std::vector<std::byte> bytes(4 + i % 100);
    std::memcpy(bytes.data(), &i, sizeof i);
    auto sent = me_.send(sink, bytes, kLong);
    ASSERT_TRUE(sent) << sent.error().to_string();
  }
  auto result = wrong.get_future();
  ASSERT_TRUE(
      process_->run_until([&] { return result.wait_for(0s) == std::future_status::ready; }, kLong));
  EXPECT_EQ(result.get(), 0u);
}

TEST_P(Primitives, AFullWindowIsBackPressure) {
  std::atomic<bool> go = false;
  std::promise<int> received;
  serve("demo/slow", [&](Endpoint& slow, std::stop_token stop) {
    go.wait(false);
    int count = 0;
    while (slow.receive(Wait(kLong, stop))) {
      if (++count == static_cast<int>(kChannelWindow) + 1) break;
    }
    received.set_value(count);
  });
  const Remote slow = lookup("demo/slow");
  for (std::uint32_t i = 0; i < kChannelWindow; ++i) ASSERT_TRUE(me_.try_send(slow, bytes_of("x")));
  auto refused = me_.try_send(slow, bytes_of("x"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::would_block);
  auto late = me_.send(slow, bytes_of("x"), 30ms);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::deadline_exceeded);
  go = true;
  go.notify_all();
  auto sent = me_.send(slow, bytes_of("last"), kLong);
  ASSERT_TRUE(sent) << sent.error().to_string();
  auto count = received.get_future();
  ASSERT_TRUE(
      process_->run_until([&] { return count.wait_for(0s) == std::future_status::ready; }, kLong));
  EXPECT_EQ(count.get(), static_cast<int>(kChannelWindow) + 1);
}

TEST_P(Primitives, ARendezvousReturnsOnceReceived) {
  std::atomic<int> received = 0;
  serve("demo/sink", [&](Endpoint& sink, std::stop_token stop) {
    for (int i = 0; i < 2; ++i) {
      auto message = sink.receive(Wait(kLong, stop));
      ASSERT_TRUE(message);
      received = static_cast<int>(message->payload().size());
    }
    // Stays so that its death is not what ends the second rendezvous.
    (void)sink.receive(stop);
  });
  const Remote sink = lookup("demo/sink");
  auto sent = me_.send_rendezvous(sink, bytes_of("four"), kLong);
  ASSERT_TRUE(sent) << sent.error().to_string();
  sent = me_.send_rendezvous(sink, bytes_of("seven.."), kLong);
  ASSERT_TRUE(sent);
  // What comes after the take happens before the acknowledgement only as far as the take itself.
  ASSERT_TRUE(process_->run_until([&] { return received == 7; }, kLong));
}

TEST_P(Primitives, ARendezvousNobodyReceivesEndsWithItsDeadline) {
  serve("demo/deaf",
        [](Endpoint& deaf, std::stop_token stop) { (void)deaf.receive_request(stop); });
  auto sent = me_.send_rendezvous(lookup("demo/deaf"), bytes_of("hello"), 50ms);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::deadline_exceeded);
  EXPECT_EQ(sent.error().outcome, Outcome::unknown);
}

TEST_P(Primitives, NotificationsMergeAndComeFirst) {
  std::atomic<bool> go = false;
  serve("demo/bell", [&](Endpoint& bell, std::stop_token stop) {
    // Lets everything arrive without taking it.
    ASSERT_TRUE(process_->run_until([&] { return go.load(); }, Wait(kLong, stop)));
    std::uint64_t bits = 0;
    auto first = bell.receive(Wait(kLong, stop));
    ASSERT_TRUE(first);
    ASSERT_EQ(first->kind(), Message::Kind::notification);
    bits |= first->bits();
    bool text = false;
    while (bits != 7 || !text) {
      auto next = bell.receive(Wait(kLong, stop));
      ASSERT_TRUE(next);
      if (next->kind() == Message::Kind::notification) bits |= next->bits();
      if (next->kind() == Message::Kind::message) text = next->text() == "text";
    }
    auto request = bell.receive_request(Wait(kLong, stop));
    ASSERT_TRUE(request);
    ASSERT_TRUE(bell.reply(std::move(*request), bytes_of(std::to_string(bits))));
  });
  const Remote bell = lookup("demo/bell");
  ASSERT_TRUE(me_.send(bell, bytes_of("text"), kLong));
  for (const std::uint64_t bit : {1u, 2u, 4u}) ASSERT_TRUE(me_.notify(bell, bit));
  EXPECT_EQ(me_.notify(bell, 0).error().code, Errc::invalid_argument);
  (void)process_->run_until([] { return false; }, 20ms);
  go = true;
  auto reply = me_.call(bell, bytes_of("bits?"), kLong);
  ASSERT_TRUE(reply) << reply.error().to_string();
  EXPECT_EQ(reply->text(), "7");
}

TEST_P(Primitives, ManyAsynchronousCallsAreInFlight) {
  serve_echo("demo/echo");
  const Remote echo = lookup("demo/echo");
  int done = 0, started = 0;
  constexpr int kCalls = 5000;
  while (done < kCalls) {
    if (started < kCalls) {
      auto ok = me_.call_async(echo, bytes_of(std::to_string(started)),
                               [&done, number = started](Result<Message> reply) {
                                 ASSERT_TRUE(reply) << reply.error().to_string();
                                 EXPECT_EQ(reply->text(), std::to_string(number));
                                 ++done;
                               });
      if (ok) {
        ++started;
        continue;
      }
      ASSERT_EQ(ok.error().code, Errc::would_block);
    }
    const int before = done;
    ASSERT_TRUE(process_->run_until([&] { return done != before; }, kLong));
  }
}

struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

TEST_P(Primitives, CoroutinesAwaitCalls) {
  serve_echo("demo/echo");
  const Remote echo = lookup("demo/echo");
  std::string log;
  bool finished = false;
  const auto talk = [&]() -> Task {
    for (const char* word : {"one ", "two ", "three"}) {
      auto reply = co_await me_.co_call(echo, bytes_of(word));
      log += reply ? std::string(reply->text()) : reply.error().to_string();
    }
    finished = true;
  };
  talk();
  ASSERT_TRUE(process_->run_until([&] { return finished; }, kLong));
  EXPECT_EQ(log, "one two three");
}

TEST_P(Primitives, RepliesComeInAnyOrderAndFromOtherThreads) {
  serve("demo/lazy", [](Endpoint& lazy, std::stop_token stop) {
    std::vector<Request> kept;
    while (kept.size() < 10) {
      auto request = lazy.receive_request(Wait(kLong, stop));
      ASSERT_TRUE(request);
      kept.push_back(std::move(*request));
    }
    std::thread worker([&] {
      for (auto at = kept.rbegin(); at != kept.rend(); ++at) {
        const std::string text(at->text());
        ASSERT_TRUE(lazy.reply(std::move(*at), bytes_of(text + "!")));
      }
    });
    // The engine of this thread carries the replies; the worker only hands them over.
    (void)lazy.receive_request(stop);
    worker.join();
  });
  const Remote lazy = lookup("demo/lazy");
  std::vector<std::string> replies;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(me_.call_async(lazy, bytes_of(std::to_string(i)), [&](Result<Message> reply) {
      ASSERT_TRUE(reply);
      replies.emplace_back(reply->text());
    }));
  }
  ASSERT_TRUE(process_->run_until([&] { return replies.size() == 10; }, kLong));
  EXPECT_THAT(replies,
              ::testing::ElementsAre("9!", "8!", "7!", "6!", "5!", "4!", "3!", "2!", "1!", "0!"));
}

TEST_P(Primitives, ADroppedRequestTellsItsCaller) {
  serve("demo/rude", [](Endpoint& rude, std::stop_token stop) {
    { auto request = rude.receive_request(Wait(kLong, stop)); }
    (void)rude.receive_request(stop);
  });
  auto reply = me_.call("demo/rude", bytes_of("please"), kLong);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Errc::closed);
  EXPECT_EQ(reply.error().outcome, Outcome::unknown);
}

TEST_P(Primitives, DeadlinesAndCancellationEndWaits) {
  serve("demo/mute", [](Endpoint& mute, std::stop_token stop) {
    std::vector<Request> kept;
    while (auto request = mute.receive_request(stop)) kept.push_back(std::move(*request));
  });
  const Remote mute = lookup("demo/mute");
  auto late = me_.call(mute, bytes_of("?"), 40ms);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::deadline_exceeded);
  EXPECT_EQ(late.error().outcome, Outcome::unknown);

  std::stop_source source;
  std::jthread canceller([&] {
    std::this_thread::sleep_for(30ms);  // any moment will do
    source.request_stop();
  });
  auto cancelled = me_.call(mute, bytes_of("?"), source.get_token());
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, Errc::cancelled);
  auto nothing = me_.receive(10ms);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, Errc::deadline_exceeded);

  bool expired = false;
  ASSERT_TRUE(me_.call_async(
      mute, bytes_of("?"),
      [&](Result<Message> reply) {
        ASSERT_FALSE(reply);
        EXPECT_EQ(reply.error().code, Errc::deadline_exceeded);
        expired = true;
      },
      40ms));
  ASSERT_TRUE(process_->run_until([&] { return expired; }, kLong));
}

TEST_P(Primitives, AnUnboundPeerEndsEveryWait) {
  std::atomic<bool> leave = false;
  serve("demo/brief", [&](Endpoint& brief, std::stop_token stop) {
    auto request = brief.receive_request(Wait(kLong, stop));
    ASSERT_TRUE(request);
    while (!leave) (void)brief.receive_request(Wait(1ms, stop));
    ASSERT_TRUE(brief.unbind());
    // The request was never answered, and its endpoint is gone.
  });
  const Remote brief = lookup("demo/brief");
  bool told = false;
  ASSERT_TRUE(me_.call_async(brief, bytes_of("?"), [&](Result<Message> reply) {
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, Errc::endpoint_died);
    EXPECT_EQ(reply.error().outcome, Outcome::unknown);
    told = true;
  }));
  (void)process_->run_until([] { return false; }, 20ms);
  leave = true;
  auto from = me_.receive_from(brief, kLong);
  ASSERT_FALSE(from);
  EXPECT_EQ(from.error().code, Errc::endpoint_died);
  ASSERT_TRUE(process_->run_until([&] { return told; }, kLong));
  auto again = me_.call(brief, bytes_of("?"), kLong);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::endpoint_died);
  EXPECT_EQ(again.error().outcome, Outcome::not_executed);
  ASSERT_TRUE(me_.wait_unbound("demo/brief", kLong));
  EXPECT_EQ(me_.lookup("demo/brief", kLong).error().code, Errc::not_found);
}

// Its acknowledgement lies unread behind the directory's news of its end, and writing to it fails.
TEST_P(Primitives, WhatAPeerReceivedBeforeItsEndIsKnown) {
  for (int round = 0; round < 20; ++round) {
    std::promise<void> gone;
    auto ended = gone.get_future();
    serve("demo/brief", [&gone](Endpoint& brief, const std::stop_token& stop) {
      ASSERT_TRUE(brief.receive(Wait(kLong, stop)));
      ASSERT_TRUE(brief.receive(Wait(kLong, stop)));
      ASSERT_TRUE(brief.unbind());
      gone.set_value();
    });
    const Remote brief = lookup("demo/brief");
    ASSERT_TRUE(me_.send_rendezvous(brief, bytes_of("connected"), kLong));
    ASSERT_TRUE(me_.send(brief, bytes_of("the last one"), kLong));
    process_->flush();
    ASSERT_EQ(ended.wait_for(kLong), std::future_status::ready);
    servers_.clear();
    const auto received = me_.wait_received(brief, kLong);
    EXPECT_TRUE(received) << received.error().to_string() << " in round " << round;
  }
}

TEST_P(Primitives, WaitReceivedTellsOfWhatNobodyReceived) {
  std::promise<void> leave;
  serve("demo/deaf", [left = leave.get_future().share()](Endpoint& deaf, const std::stop_token&) {
    left.wait();
    ASSERT_TRUE(deaf.unbind());
  });
  const Remote deaf = lookup("demo/deaf");
  EXPECT_TRUE(me_.wait_received(deaf, kLong));  // of nothing
  ASSERT_TRUE(me_.send(deaf, bytes_of("?"), kLong));
  const auto late = me_.wait_received(deaf, 20ms);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::deadline_exceeded);
  EXPECT_EQ(late.error().outcome, Outcome::unknown);
  leave.set_value();
  const auto died = me_.wait_received(deaf, kLong);
  ASSERT_FALSE(died);
  EXPECT_EQ(died.error().code, Errc::endpoint_died);
  EXPECT_EQ(died.error().outcome, Outcome::unknown);
}

TEST_P(Primitives, NamesAreUniqueAndWaitedFor) {
  auto first = process_->bind("demo/unique");
  ASSERT_TRUE(first);
  EXPECT_EQ(process_->bind("demo/unique").error().code, Errc::name_taken);
  EXPECT_EQ(process_->bind("noslash").error().code, Errc::invalid_argument);
  EXPECT_EQ(process_->bind("demo/").error().code, Errc::invalid_argument);
  EXPECT_EQ(process_->bind("demo/a\nb").error().code, Errc::invalid_argument);
  EXPECT_EQ(process_->bind("demo/" + std::string(256, 'x')).error().code, Errc::invalid_argument);
  EXPECT_TRUE(process_->bind("demo/weird name/with % and ü"));
  EXPECT_EQ(me_.wait_bound("demo/later", 20ms).error().code, Errc::deadline_exceeded);
  serve("demo/later", [](Endpoint& later, std::stop_token stop) { (void)later.receive(stop); });
  auto later = me_.wait_bound("demo/later", kLong);
  ASSERT_TRUE(later);
  EXPECT_TRUE(me_.send(*later, bytes_of("hello"), kLong));
}

TEST_P(Primitives, ReceiveFromTakesOnlyThatSender) {
  auto self = me_.lookup(me_.id(), kLong);
  ASSERT_TRUE(self) << self.error().to_string();
  serve("demo/other", [id = me_.id()](Endpoint& other, std::stop_token stop) {
    auto to = other.lookup(id, kLong);
    ASSERT_TRUE(to);
    ASSERT_TRUE(other.send(*to, bytes_of("from other"), kLong));
    (void)other.receive(stop);
  });
  ASSERT_TRUE(me_.send(*self, bytes_of("from me"), kLong));
  auto first = me_.receive_from(lookup("demo/other"), kLong);
  ASSERT_TRUE(first) << first.error().to_string();
  EXPECT_EQ(first->text(), "from other");
  auto second = me_.receive(kLong);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->text(), "from me");
}

TEST_P(Primitives, ReceiveGivesRequestsToo) {
  serve("demo/any", [](Endpoint& any, std::stop_token stop) {
    auto first = any.receive(Wait(kLong, stop));
    ASSERT_TRUE(first);
    ASSERT_EQ(first->kind(), Message::Kind::message);
    EXPECT_EQ(any.as_request(std::move(*first)).error().code, Errc::invalid_argument);
    auto second = any.receive(Wait(kLong, stop));
    ASSERT_TRUE(second);
    ASSERT_EQ(second->kind(), Message::Kind::request);
    auto request = any.as_request(std::move(*second));
    ASSERT_TRUE(request);
    ASSERT_TRUE(any.reply(std::move(*request), bytes_of("answer")));
    (void)any.receive(stop);
  });
  const Remote any = lookup("demo/any");
  ASSERT_TRUE(me_.send(any, bytes_of("first"), kLong));
  auto reply = me_.call(any, bytes_of("second"), kLong);
  ASSERT_TRUE(reply) << reply.error().to_string();
  EXPECT_EQ(reply->text(), "answer");
}

TEST_P(Primitives, AllocatedBuffersTravelWithoutACopy) {
  serve_echo("demo/echo");
  const Remote echo = lookup("demo/echo");
  for (int i = 0; i < 200; ++i) {
    auto buffer = process_->allocate(1 << 20);
    ASSERT_TRUE(buffer) << i << ": " << buffer.error().to_string();
    std::fill_n(buffer->data(), buffer->size(), static_cast<std::byte>(i));
    auto reply = me_.call(echo, std::move(*buffer), kLong);
    ASSERT_TRUE(reply) << reply.error().to_string();
    ASSERT_EQ(reply->payload().size(), 1u << 20);
    EXPECT_EQ(reply->payload()[12345], static_cast<std::byte>(i));
  }
}

TEST_P(Primitives, GrantsAreCopiedWithinBoundsAndRights) {
  auto memory = pattern(5 << 20, 1);
  std::promise<GrantRef> granted, read_only, private_one;
  serve("demo/owner", [&](Endpoint& owner, std::stop_token stop) {
    GrantOptions options;
    options.rights = Rights::read_write;
    granted.set_value(*owner.grant(std::span(memory), options));
    read_only.set_value(*owner.grant(std::span<const std::byte>(memory)));
    private_one.set_value(*owner.grant(std::span<const std::byte>(memory), EndpointId{1, 999, 1}));
    (void)owner.receive(stop);
  });
  const GrantRef all = granted.get_future().get();
  std::vector<std::byte> local(3 << 20);
  auto copied = me_.copy_from(all, 1 << 20, local, kLong);
  ASSERT_TRUE(copied) << copied.error().to_string();
  EXPECT_TRUE(std::equal(local.begin(), local.end(), memory.begin() + (1 << 20)));

  const auto fresh = pattern(2 << 20, 99);
  copied = me_.copy_to(all, 12345, fresh, kLong);
  ASSERT_TRUE(copied) << copied.error().to_string();
  ASSERT_TRUE(me_.copy_from(all, 12345, std::span(local).first(fresh.size()), kLong));
  EXPECT_TRUE(std::equal(fresh.begin(), fresh.end(), local.begin()));

  EXPECT_EQ(me_.copy_from(all, memory.size() - 1, std::span(local).first(2), kLong).error().code,
            Errc::out_of_bounds);
  EXPECT_EQ(me_.copy_to(read_only.get_future().get(), 0, fresh, kLong).error().code,
            Errc::permission_denied);
  EXPECT_EQ(me_.copy_from(private_one.get_future().get(), 0, local, kLong).error().code,
            Errc::permission_denied);
  GrantRef forged = all;
  forged.key ^= 1;
  EXPECT_EQ(me_.copy_from(forged, 0, local, kLong).error().code, Errc::not_found);
  // Bounds are the owner's: a reference that claims more does not help.
  GrantRef longer = all;
  longer.length *= 2;
  EXPECT_EQ(me_.copy_from(longer, memory.size() - 1, std::span(local).first(2), kLong).error().code,
            Errc::out_of_bounds);
}

TEST_P(Primitives, AThirdPartyCopiesBetweenTwoOthers) {
  auto source = pattern(2 << 20, 5);
  std::vector<std::byte> target(3 << 20);
  std::promise<GrantRef> from, to;
  serve("demo/source", [&](Endpoint& owner, std::stop_token stop) {
    from.set_value(*owner.grant(std::span<const std::byte>(source)));
    (void)owner.receive(stop);
  });
  serve("demo/target", [&](Endpoint& owner, std::stop_token stop) {
    to.set_value(*owner.grant(std::span(target), {Rights::write, {}}));
    (void)owner.receive(stop);
  });
  auto copied =
      me_.copy_between(from.get_future().get(), 1000, to.get_future().get(), 7, 1 << 20, kLong);
  ASSERT_TRUE(copied) << copied.error().to_string();
  EXPECT_TRUE(
      std::equal(target.begin() + 7, target.begin() + 7 + (1 << 20), source.begin() + 1000));
  EXPECT_EQ(target[6], std::byte{0});
  EXPECT_EQ(target[7 + (1 << 20)], std::byte{0});
}

TEST_P(Primitives, ARevokedGrantIsGone) {
  std::vector<std::byte> memory(4096);
  auto self = me_.lookup(me_.id(), kLong);
  ASSERT_TRUE(self);
  auto ref = me_.grant(std::span<const std::byte>(memory));
  ASSERT_TRUE(ref);
  std::vector<std::byte> local(4096);
  auto copied = me_.copy_from(*ref, 0, local, kLong);
  ASSERT_TRUE(copied) << copied.error().to_string();
  ASSERT_TRUE(me_.revoke(*ref, kLong));
  EXPECT_EQ(me_.copy_from(*ref, 0, local, kLong).error().code, Errc::not_found);
  EXPECT_EQ(me_.revoke(*ref, kLong).error().code, Errc::not_found);
}

TEST_P(Primitives, AnotherThreadIsRefused) {
  Errc code{};
  std::thread([&] { code = me_.receive(1ms).error().code; }).join();
  EXPECT_EQ(code, Errc::wrong_thread);
}

INSTANTIATE_TEST_SUITE_P(Transports, Primitives,
                         ::testing::Values(TransportKind::shm, TransportKind::tcp,
                                           TransportKind::ucx),
                         [](const auto& kind) { return std::string(to_string(kind.param)); });

}  // namespace
}  // namespace godwit
