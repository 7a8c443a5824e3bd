// An endpoint that goes from thread to thread of one process, as it goes from process to process in
// a move: its gate, its image, and what its peers see.
#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <random>
#include <thread>

#include "godwit/endpoints/image.pb.h"
#include "relocation_fixture.h"

namespace godwit {
namespace {

/// What the server remembers: how far each client has counted.
using Counts = std::map<EndpointId, std::uint64_t>;

TEST_P(RelocationTest, CallsGoOnWhileTheServerMovesAbout) {
  constexpr int kMoves = 40;
  constexpr int kClients = 3;
  std::atomic<int> moves{0};
  Counts counts;  // the state: used by the thread that has the endpoint alone

  // Serves until it has been told to move on, or all is done. The image that it leaves with.
  const auto serve = [&](Endpoint& server, std::stop_token stop) {
    std::string image;
    std::uint64_t served = 0;
    Relocation::at_rest(server, [&] {
      if (served < 25 || moves >= kMoves || !image.empty()) return false;
      if (try_park(server, image)) Relocation::leave(server);
      return true;
    });
    while (auto request = server.receive_request(stop)) {
      const std::uint64_t number = number_of(request->payload());
      // Executed once and in order, or the count would be another.
      EXPECT_EQ(number, counts[request->source()] + 1);
      counts[request->source()] = number;
      ++served;
      EXPECT_TRUE(server.reply(std::move(*request), bytes_of_number(number)));
    }
    return image;
  };

  std::vector<std::jthread> clients;
  std::promise<void> bound;
  std::stop_source stop;
  std::jthread chain([&] {
    // Each place is a thread with an engine of its own.
    std::string image;
    for (int place = 0; place <= kMoves; ++place) {
      std::jthread at([&] {
        std::optional<Endpoint> server;
        if (place == 0) {
          auto made = process_->bind("demo/server");
          ASSERT_TRUE(made) << made.error().to_string();
          server = std::move(*made);
          bound.set_value();
        } else {
          auto made = Relocation::install(*process_, image);
          ASSERT_TRUE(made) << made.error().to_string();
          server = std::move(*made);
          arrive(*server);
          ++moves;
        }
        image = serve(*server, stop.get_token());
      });
    }
  });
  bound.get_future().wait();
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&] {
      auto me = process_->bind_anonymous("demo");
      ASSERT_TRUE(me) << me.error().to_string();
      auto server = me->lookup("demo/server", kLong);
      ASSERT_TRUE(server) << server.error().to_string();
      for (std::uint64_t number = 1; moves < kMoves || number < 100; ++number) {
        auto reply = me->call(*server, bytes_of_number(number), kLong);
        ASSERT_TRUE(reply) << reply.error().to_string() << " call " << number << " after " << moves;
        ASSERT_EQ(number_of(reply->payload()), number);
      }
    });
  }
  clients.clear();
  stop.request_stop();
  chain.join();
  EXPECT_EQ(moves, kMoves);
  EXPECT_EQ(counts.size(), kClients);
}

TEST_P(RelocationTest, WhatIsRetainedAndNotTakenMovesOrIsSentAgain) {
  auto peer = process_->bind("demo/peer");
  ASSERT_TRUE(peer) << peer.error().to_string();
  std::string image;
  std::promise<void> ready;
  std::atomic<bool> go{false};
  std::jthread old([&] {
    auto mover = process_->bind("demo/mover");
    ASSERT_TRUE(mover);
    auto to = mover->lookup("demo/peer", kLong);
    ASSERT_TRUE(to);
    // Sent, and not received before the move.
    for (std::uint64_t i = 1; i <= 5; ++i) ASSERT_TRUE(mover->send(*to, bytes_of_number(i)));
    const std::string large(1 << 20, 'x');
    ASSERT_TRUE(mover->send(*to, bytes_of(large)));
    ASSERT_TRUE(mover->notify(*to, 5));
    ready.set_value();
    // Until the peer's messages have arrived, which nobody takes.
    bool parked = false;
    Relocation::at_rest(*mover, [&] {
      if (!go) return true;
      parked = try_park(*mover, image);
      if (parked) Relocation::leave(*mover);
      return true;
    });
    auto told = mover->receive_request(kLong);  // there are none: the messages stay
    ASSERT_FALSE(told);
    EXPECT_EQ(told.error().code, Errc::moved);
    EXPECT_EQ(mover->receive(kLong).error().code, Errc::moved);
    EXPECT_EQ(mover->send(*to, bytes_of("late"), 100ms).error().code, Errc::moved);
    EXPECT_TRUE(parked);
  });
  ready.get_future().wait();
  auto mover = peer->lookup("demo/mover", kLong);
  ASSERT_TRUE(mover);
  for (std::uint64_t i = 11; i <= 15; ++i) {
    // The first two move; the third is too large, and comes again with those behind it.
    std::vector<std::byte> bytes(i == 13 ? 1 << 20 : sizeof i);
    std::memcpy(bytes.data(), &i, sizeof i);
    ASSERT_TRUE(peer->send(*mover, bytes));
  }
  ASSERT_TRUE(peer->notify(*mover, 6));
  EXPECT_EQ(peer->wait_received(*mover, 50ms).error().code, Errc::deadline_exceeded);
  go = true;
  old.join();
  endpoints::proto::EndpointImage parsed;
  ASSERT_TRUE(parsed.ParseFromString(image));
  ASSERT_EQ(parsed.channels_size(), 1);
  EXPECT_EQ(parsed.channels(0).incoming(0).inbox_size(), 2);

  std::jthread fresh([&] {
    auto moved = Relocation::install(*process_, image);
    ASSERT_TRUE(moved) << moved.error().to_string();
    EXPECT_EQ(moved->name(), "demo/mover");
    arrive(*moved);
    std::uint64_t bits = 0;
    for (std::uint64_t i = 11; i <= 15;) {
      auto message = moved->receive(kLong);
      ASSERT_TRUE(message) << message.error().to_string();
      if (message->kind() == Message::Kind::notification) {
        bits |= message->bits();
      } else {
        EXPECT_EQ(number_of(message->payload()), i++);
      }
    }
    if (bits == 0) bits = moved->receive(kLong)->bits();
    EXPECT_EQ(bits, 6u);
    EXPECT_EQ(moved->receive(20ms).error().code, Errc::deadline_exceeded);  // nothing twice
    auto back = moved->lookup("demo/peer", kLong);
    ASSERT_TRUE(back);
    EXPECT_TRUE(moved->wait_received(*back, kLong));
  });
  std::uint64_t bits = 0;
  for (std::uint64_t i = 1; i <= 6;) {
    auto message = peer->receive(kLong);
    ASSERT_TRUE(message) << message.error().to_string();
    if (message->kind() == Message::Kind::notification) {
      bits |= message->bits();
      continue;
    }
    if (i <= 5) {
      EXPECT_EQ(number_of(message->payload()), i);
    } else {
      EXPECT_EQ(message->payload().size(), std::size_t{1} << 20);
    }
    ++i;
  }
  if (bits == 0) bits = peer->receive(kLong)->bits();
  EXPECT_EQ(bits, 5u);
  EXPECT_TRUE(peer->wait_received(*mover, kLong));
}

TEST_P(RelocationTest, AMoveThatIsGivenUpCostsNothing) {
  auto server = process_->bind("demo/server");
  ASSERT_TRUE(server);
  std::stop_source done;
  std::jthread client([&] {
    const std::unique_ptr<std::stop_source, void (*)(std::stop_source*)> at_end(
        &done, [](std::stop_source* source) { source->request_stop(); });
    auto me = process_->bind_anonymous("demo");
    ASSERT_TRUE(me);
    auto to = me->lookup("demo/server", kLong);
    ASSERT_TRUE(to);
    for (std::uint64_t i = 1; i <= 200; ++i) {
      auto reply = me->call(*to, bytes_of_number(i), kLong);
      ASSERT_TRUE(reply) << reply.error().to_string();
      ASSERT_EQ(number_of(reply->payload()), i);
    }
  });
  std::uint64_t served = 0;
  std::string image;
  Relocation::at_rest(*server, [&] {
    if (served == 0 || served % 10 != 0) return false;
    if (!try_park(*server, image)) return true;
    ++served;  // once for each ten
    Relocation::open(*server, Relocation::epoch(*server) + 1);
    return true;
  });
  std::uint64_t last = 0;
  while (auto request = server->receive_request(done.get_token())) {
    const std::uint64_t number = number_of(request->payload());
    EXPECT_EQ(number, last + 1);
    last = number;
    ++served;
    EXPECT_TRUE(server->reply(std::move(*request), bytes_of_number(number)));
  }
  EXPECT_EQ(last, 200u);
  EXPECT_GT(Relocation::epoch(*server), 10u);
}

TEST_P(RelocationTest, BusyNamesWhatIsStillUnderWay) {
  auto server = process_->bind("demo/server");
  ASSERT_TRUE(server);
  std::atomic<bool> answered{false};
  std::jthread client([&] {
    auto me = process_->bind_anonymous("demo");
    ASSERT_TRUE(me);
    auto reply = me->call("demo/server", bytes_of("x"), kLong);
    EXPECT_TRUE(reply) << reply.error().to_string();
    answered = true;
  });
  auto request = server->receive_request(kLong);
  ASSERT_TRUE(request);
  Relocation::shut(*server);
  EXPECT_EQ(Relocation::busy(*server), "1 requests not answered");
  EXPECT_EQ(server->receive(20ms).error().code, Errc::deadline_exceeded);
  ASSERT_TRUE(server->reply(std::move(*request), bytes_of("y")));
  EXPECT_EQ(Relocation::busy(*server), "");
  Relocation::open(*server, Relocation::epoch(*server) + 1);
  EXPECT_TRUE(process_->run_until([&] { return answered.load(); }, kLong));
}

TEST_P(RelocationTest, GrantsAreValidAtTheNewPlace) {
  auto user = process_->bind("demo/user");
  ASSERT_TRUE(user);
  std::vector<std::byte> memory(100'000, std::byte{7});
  std::string image;
  std::promise<GrantRef> granted;
  std::stop_source leave;
  std::jthread old([&] {
    auto owner = process_->bind("demo/owner");
    ASSERT_TRUE(owner);
    granted.set_value(*owner->grant(std::span(memory), {Rights::read_write, user->id()}));
    (void)owner->receive(leave.get_token());
    ASSERT_TRUE(try_park(*owner, image));
    Relocation::leave(*owner);
  });
  const GrantRef ref = granted.get_future().get();
  std::vector<std::byte> local(memory.size());
  ASSERT_TRUE(user->copy_from(ref, 0, local, kLong));
  leave.request_stop();
  old.join();
  std::vector<std::byte> elsewhere(memory.size(), std::byte{9});
  std::stop_source stop;
  std::promise<void> there;
  std::jthread fresh([&] {
    auto owner = Relocation::install(*process_, image);
    ASSERT_TRUE(owner) << owner.error().to_string();
    EXPECT_EQ(owner->regrant(ref, std::span(elsewhere).first(10)).error().code,
              Errc::invalid_argument);
    EXPECT_TRUE(owner->regrant(ref, elsewhere));
    EXPECT_EQ(owner->regrant(ref, elsewhere).error().code, Errc::invalid_argument);
    arrive(*owner);
    there.set_value();
    (void)owner->receive(stop.get_token());
  });
  there.get_future().wait();
  auto copied = user->copy_from(ref, 0, local, kLong);
  ASSERT_TRUE(copied) << copied.error().to_string();
  EXPECT_EQ(local, elsewhere);
  local.assign(local.size(), std::byte{3});
  EXPECT_TRUE(user->copy_to(ref, 0, local, kLong));
  stop.request_stop();
  fresh.join();
  EXPECT_EQ(local, elsewhere);
}

// An image comes from another process: whatever it says must not harm this one.
TEST_P(RelocationTest, ADamagedImageIsRefusedOrHarmless) {
  std::string image;
  std::jthread old([&] {
    auto mover = process_->bind("demo/mover");
    ASSERT_TRUE(mover);
    auto self = mover->lookup(mover->id(), kLong);
    ASSERT_TRUE(self);
    ASSERT_TRUE(mover->send(*self, bytes_of("to itself")));
    std::vector<std::byte> memory(64);
    ASSERT_TRUE(mover->grant(std::span(memory)));
    ASSERT_TRUE(try_park(*mover, image));
    Relocation::leave(*mover);
  });
  old.join();
  std::jthread fresh([&] {
    EXPECT_EQ(Relocation::install(*process_, "nonsense").error().code, Errc::protocol_error);
    std::mt19937_64 random(7);
    for (int i = 0; i < 500; ++i) {
      std::string bytes = image;
      for (std::uint64_t flips = 1 + random() % 4; flips > 0; --flips) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      if (i % 5 == 0) bytes.resize(random() % bytes.size());
      auto made = Relocation::install(*process_, bytes);
      if (made) {
        Relocation::open(*made, 2);
        (void)made->receive(1ms);
        Relocation::leave(*made);
      }
    }
    auto whole = Relocation::install(*process_, image);
    ASSERT_TRUE(whole) << whole.error().to_string();
    EXPECT_EQ(Relocation::install(*process_, image).error().code, Errc::name_taken);
    arrive(*whole);
    auto message = whole->receive(kLong);
    ASSERT_TRUE(message) << message.error().to_string();
    EXPECT_EQ(message->text(), "to itself");
  });
}

INSTANTIATE_TEST_SUITE_P(Transports, RelocationTest,
                         ::testing::Values(TransportKind::shm, TransportKind::tcp),
                         [](const auto& param) {
                           return std::string(fabric::to_string(param.param));
                         });

}  // namespace
}  // namespace godwit
