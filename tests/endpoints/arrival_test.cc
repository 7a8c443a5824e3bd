// An endpoint at its new place before its gate opens: its peers are attached to it already, and
// nothing that they send is taken, lost or doubled, whichever place goes on.
#include <algorithm>
#include <atomic>
#include <future>
#include <optional>
#include <thread>

#include "godwit/endpoints/image.pb.h"
#include "own_counters.h"
#include "relocation_fixture.h"

namespace godwit {
namespace {

class ArrivalTest : public RelocationTest {
 protected:
  enum class End { open, leave };

  /// A thread that waits for these is joined also where a test ended early.
  ~ArrivalTest() override { copied_ = over_ = true; }

  /// Binds demo/server on a thread of its own, which takes one message of the peer's and parks.
  /// Once `resumed_` is known it leaves, or it opens the gate again and serves one request.
  void start_old_place(Endpoint& peer, Remote& to) {
    old_ = std::jthread([this] {
      auto server = process_->bind("demo/server", kLong);
      ASSERT_TRUE(server) << server.error().to_string();
      grant_ = *server->grant(std::span(memory_), {Rights::read_write, {}});
      bound_.set_value();
      ASSERT_TRUE(server->receive(kLong));
      std::string image;
      ASSERT_TRUE(try_park(*server, image));
      image_.set_value(image);
      if (!resumed_.get_future().get()) return Relocation::leave(*server);
      arrive(*server);
      auto request = server->receive_request(kLong);
      ASSERT_TRUE(request) << request.error().to_string();
      EXPECT_EQ(request->payload().size(), sizeof(std::uint64_t));
      EXPECT_TRUE(server->reply(std::move(*request), bytes_of("the old place")));
      EXPECT_EQ(server->receive(50ms).error().code, Errc::deadline_exceeded);
    });
    bound_.get_future().wait();
    auto found = peer.lookup("demo/server", kLong);
    ASSERT_TRUE(found) << found.error().to_string();
    to = *found;
    ASSERT_TRUE(peer.send(to, bytes_of("move")));
    auto image = image_.get_future();
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (image.wait_for(0s) != std::future_status::ready) {
      ASSERT_LT(std::chrono::steady_clock::now(), until);
      keep_going(peer);
    }
    moved_ = image.get();
  }

  /// Keeps the endpoint on a thread of its own, behind its gate, until `decision_` is known. Then
  /// `then` has it, or it leaves.
  void start_new_place(std::function<void(Endpoint&)> then) {
    fresh_ = std::jthread([this, then = std::move(then)] {
      auto server = Relocation::install(*process_, moved_);
      ASSERT_TRUE(server) << server.error().to_string();
      Relocation::receive_peers(*server);
      auto decision = decision_.get_future();
      while (decision.wait_for(0s) != std::future_status::ready) {
        auto nothing = server->receive(1ms);
        ASSERT_FALSE(nothing) << "taken behind a shut gate";
        ASSERT_EQ(nothing.error().code, Errc::deadline_exceeded);
        if (Relocation::attached_peers(*server) == 1) attached_ = true;
      }
      if (decision.get() == End::leave) {
        Relocation::leave(*server);
        // Its word to the peers goes out with the thread's last breath.
        process_->flush();
        return;
      }
      arrive(*server);
      then(*server);
    });
  }

  /// The new place, behind its gate, with the memory of the grant: the peer is attached, and what
  /// it asks in the session has been answered. Nothing: the test has failed.
  std::optional<Endpoint> install_with_memory() {
    auto server = Relocation::install(*process_, moved_);
    EXPECT_TRUE(server) << server.error().to_string();
    if (!server) return {};
    EXPECT_TRUE(server->regrant(grant_, memory_));
    Relocation::receive_peers(*server);
    for (int quiet = 0; quiet < 50;) {
      EXPECT_FALSE(server->receive(1ms)) << "taken behind a shut gate";
      quiet += Relocation::attached_peers(*server) == 1;
    }
    return std::move(*server);
  }

  /// How many sessions the new place begins with its peer until a call of the peer's is answered.
  std::uint32_t sessions_when_granted_while_attaching(bool directory_tells);

  /// An engine works while its thread is in a call.
  static void keep_going(Endpoint& peer) {
    auto nothing = peer.receive(1ms);
    ASSERT_FALSE(nothing);
    ASSERT_EQ(nothing.error().code, Errc::deadline_exceeded);
  }
  /// Until the peer is attached to the new place.
  void let_it_attach(Endpoint& peer) {
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (!attached_ && std::chrono::steady_clock::now() < until) keep_going(peer);
    ASSERT_TRUE(attached_);
  }

  std::vector<std::byte> memory_ = std::vector<std::byte>(16 << 20);  // at either place
  GrantRef grant_;
  std::promise<void> bound_;
  std::promise<std::string> image_;
  std::string moved_;
  std::promise<bool> resumed_;
  std::promise<End> decision_;
  std::atomic<bool> attached_{false};
  // For copies: the new place is open, the copy has ended, and it may leave.
  std::atomic<bool> opened_{false}, copied_{false}, over_{false};
  std::jthread old_, fresh_;
};

std::uint32_t ArrivalTest::sessions_when_granted_while_attaching(bool directory_tells) {
  const auto session_of = [](const std::string& image) {
    endpoints::proto::EndpointImage parsed;
    EXPECT_TRUE(parsed.ParseFromString(image));
    return parsed.channels_size() == 1 ? parsed.channels(0).session() : 0;
  };
  auto peer = process_->bind("demo/peer");
  EXPECT_TRUE(peer);
  if (!peer) return 0;
  Remote server;
  start_old_place(*peer, server);
  if (moved_.empty()) return 0;
  resumed_.set_value(false);
  old_.join();
  std::string parked;
  std::promise<void> opened;
  std::atomic<bool> connected{false};
  fresh_ = std::jthread([&, address = Relocation::place(*peer).engine_address] {
    ASSERT_TRUE(Relocation::acquaint(*process_, peer->id().dc, address));
    // Both engines work until the connection is there.
    EXPECT_FALSE(process_->run_until([] { return false; }, 200ms));
    auto fresh = Relocation::install(*process_, moved_);
    ASSERT_TRUE(fresh) << fresh.error().to_string();
    connected = true;
    std::this_thread::sleep_for(50ms);  // the peer's engine stands still by now
    Relocation::receive_peers(*fresh);
    process_->flush();
    if (directory_tells) {
      arrive(*fresh);
    } else {
      Relocation::open(*fresh, Relocation::epoch(*fresh) + 1);
    }
    opened.set_value();
    auto request = fresh->receive_request(kLong);
    ASSERT_TRUE(request) << request.error().to_string();
    ASSERT_TRUE(fresh->reply(std::move(*request), bytes_of("the new place")));
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (!try_park(*fresh, parked) && std::chrono::steady_clock::now() < until) {
      EXPECT_FALSE(fresh->receive(1ms));
    }
    Relocation::leave(*fresh);
  });
  while (!connected) keep_going(*peer);
  opened.get_future().wait();
  auto reply = peer->call(server, bytes_of("who"), kLong);
  EXPECT_TRUE(reply) << reply.error().to_string();
  if (reply) {
    EXPECT_EQ(reply->text(), "the new place");
  }
  fresh_.join();
  return session_of(parked) - session_of(moved_);
}

TEST_P(ArrivalTest, WhatArrivesBehindTheGateIsThereWhenItOpens) {
  auto peer = process_->bind("demo/peer");
  ASSERT_TRUE(peer);
  Remote server;
  start_old_place(*peer, server);
  start_new_place([](Endpoint& at) {
    // Their sender is gone: nobody could send them again.
    for (std::uint64_t i = 1; i <= 3; ++i) {
      auto message = at.receive(kLong);
      ASSERT_TRUE(message) << message.error().to_string();
      EXPECT_EQ(number_of(message->payload()), i);
    }
    EXPECT_EQ(at.receive(20ms).error().code, Errc::deadline_exceeded);
  });
  let_it_attach(*peer);
  for (std::uint64_t i = 1; i <= 3; ++i) ASSERT_TRUE(peer->send(server, bytes_of_number(i)));
  ASSERT_TRUE(peer->unbind());
  decision_.set_value(End::open);
  resumed_.set_value(false);
}

TEST_P(ArrivalTest, WhatCannotWaitBehindTheGateComesAgain) {
  auto peer = process_->bind("demo/peer");
  ASSERT_TRUE(peer);
  Remote server;
  start_old_place(*peer, server);
  start_new_place([](Endpoint& at) {
    std::uint64_t bits = 0;
    std::optional<Request> request;
    while (bits == 0 || !request) {
      auto message = at.receive(kLong);
      ASSERT_TRUE(message) << message.error().to_string();
      bits |= message->bits();
      if (message->kind() == Message::Kind::request) {
        auto taken = at.as_request(std::move(*message));
        ASSERT_TRUE(taken);
        request = std::move(*taken);
      }
    }
    EXPECT_EQ(bits, 6u);
    EXPECT_TRUE(at.reply(std::move(*request), bytes_of("the new place")));
    EXPECT_EQ(at.receive(20ms).error().code, Errc::deadline_exceeded);
  });
  let_it_attach(*peer);
  ASSERT_TRUE(peer->notify(server, 6));
  bool answered = false;
  ASSERT_TRUE(peer->call_async(server, bytes_of("who"), [&](Result<Message> reply) {
    ASSERT_TRUE(reply) << reply.error().to_string();
    EXPECT_EQ(reply->text(), "the new place");
    answered = true;
  }));
  EXPECT_EQ(peer->receive(50ms).error().code, Errc::deadline_exceeded);
  EXPECT_FALSE(answered);
  resumed_.set_value(false);
  decision_.set_value(End::open);
  EXPECT_TRUE(process_->run_until([&] { return answered; }, kLong));
}

// The grant comes while the peer has not answered the attach.
TEST_P(ArrivalTest, AnAttachUnderWayAtTheGrantGoesOn) {
  EXPECT_EQ(sessions_when_granted_while_attaching(false), 1u);
}

// The peer hears of the grant before it reads the attach: it attaches itself, with the same number,
// and then refuses the other as one of the old place. Over shm it reads the attach first, accepts
// it, and begins another session at the news.
TEST_P(ArrivalTest, ARefusalThatIsOvertakenEndsNoSession) {
  EXPECT_EQ(sessions_when_granted_while_attaching(true),
            GetParam() == TransportKind::shm ? 2u : 1u);
}

// Neither the request nor its reply needs the other side's word: it has come with the endpoint, and
// goes with the attach.
TEST_P(ArrivalTest, ARequestThatCameAlongIsAnsweredAboardTheAttach) {
  auto peer = process_->bind("demo/peer");
  ASSERT_TRUE(peer);
  const std::vector<std::byte> question(1000, std::byte{3});
  // Written down when the engines go to sleep.
  const auto arrived = [this] {
    return own_counter(directory_->runtime_directory(), GetParam(),
                       &EngineCounters::PerTransport::bytes_received);
  };
  const auto connects = [this] {
    return own_counter(
        directory_->runtime_directory(),
        [](const EngineCounters& engine) -> const Counter& { return engine.connects; });
  };
  const auto sleep_until = [this](const std::function<bool()>& done) {
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (!done() && std::chrono::steady_clock::now() < until)
      (void)process_->run_until([] { return false; }, 1ms);
  };
  std::promise<void> shut;
  old_ = std::jthread([&] {
    auto server = process_->bind("demo/server", kLong);
    ASSERT_TRUE(server) << server.error().to_string();
    bound_.set_value();
    ASSERT_TRUE(server->receive(kLong));
    // As the source does in its rounds: the peer, which has dialled, is asked for at the directory.
    sleep_until([&] { return !Relocation::peers(*server).empty(); });
    Relocation::shut(*server);
    const auto before = arrived();
    shut.set_value();
    sleep_until([&] { return arrived() >= before + question.size(); });
    ASSERT_EQ(Relocation::busy(*server), "");
    image_.set_value(Relocation::park(*server));
    while (!over_) std::this_thread::sleep_for(1ms);
    Relocation::leave(*server);
  });
  bound_.get_future().wait();
  auto to = peer->lookup("demo/server", kLong);
  ASSERT_TRUE(to) << to.error().to_string();
  ASSERT_TRUE(peer->send(*to, bytes_of("move")));
  const auto work_until_ready = [&](auto& future) {
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (future.wait_for(0s) != std::future_status::ready) {
      ASSERT_LT(std::chrono::steady_clock::now(), until);
      keep_going(*peer);
    }
  };
  auto is_shut = shut.get_future();
  ASSERT_NO_FATAL_FAILURE(work_until_ready(is_shut));
  std::string answer;
  ASSERT_TRUE(peer->call_async(*to, question, [&](Result<Message> reply) {
    ASSERT_TRUE(reply) << reply.error().to_string();
    answer = reply->text();
  }));
  auto image = image_.get_future();
  ASSERT_NO_FATAL_FAILURE(work_until_ready(image));
  moved_ = image.get();

  std::promise<void> connected, still, replied;
  fresh_ = std::jthread([&, address = Relocation::place(*peer).engine_address] {
    const auto before = connects();
    ASSERT_TRUE(Relocation::acquaint(*process_, peer->id().dc, address));
    sleep_until([&] { return connects() >= before + 2; });
    auto fresh = Relocation::install(*process_, moved_);
    ASSERT_TRUE(fresh) << fresh.error().to_string();
    connected.set_value();
    still.get_future().wait();
    Relocation::receive_peers(*fresh);
    // The peer is to hear of it from here alone.
    Relocation::open(*fresh, Relocation::epoch(*fresh) + 1);
    auto request = fresh->receive_request(kLong);
    ASSERT_TRUE(request) << request.error().to_string();
    EXPECT_TRUE(std::ranges::equal(request->payload(), question));
    ASSERT_TRUE(fresh->reply(std::move(*request), bytes_of("the new place")));
    process_->flush();
    replied.set_value();
    // It reads nothing meanwhile, not even the answer to its attach.
    while (!over_) std::this_thread::sleep_for(1ms);
    auto nothing = fresh->receive(20ms);
    EXPECT_EQ(nothing.error().code, Errc::deadline_exceeded);
    Relocation::leave(*fresh);
  });
  auto is_connected = connected.get_future();
  ASSERT_NO_FATAL_FAILURE(work_until_ready(is_connected));
  // The peer does nothing either until the reply lies before it.
  still.set_value();
  EXPECT_EQ(replied.get_future().wait_for(kLong), std::future_status::ready);
  EXPECT_TRUE(process_->run_until([&] { return !answer.empty(); }, kLong));
  EXPECT_EQ(answer, "the new place");
  over_ = true;
  fresh_.join();
  old_.join();
}

TEST_P(ArrivalTest, AnArrivalThatIsGivenUpCostsNothing) {
  auto peer = process_->bind("demo/peer");
  ASSERT_TRUE(peer);
  Remote server;
  start_old_place(*peer, server);
  start_new_place([](Endpoint&) {});
  let_it_attach(*peer);
  bool answered = false;
  ASSERT_TRUE(peer->call_async(server, bytes_of_number(1), [&](Result<Message> reply) {
    ASSERT_TRUE(reply) << reply.error().to_string();
    EXPECT_EQ(reply->text(), "the old place");
    answered = true;
  }));
  // It lies at the place that is given up.
  EXPECT_EQ(peer->receive(50ms).error().code, Errc::deadline_exceeded);
  decision_.set_value(End::leave);
  fresh_.join();
  resumed_.set_value(true);
  EXPECT_TRUE(process_->run_until([&] { return answered; }, kLong));
}

TEST_P(ArrivalTest, CopiesWaitForTheGrant) {
  auto peer = process_->bind("demo/peer");
  ASSERT_TRUE(peer);
  Remote to;
  start_old_place(*peer, to);
  fresh_ = std::jthread([this] {
    auto server = install_with_memory();
    ASSERT_TRUE(server);
    EXPECT_EQ(Relocation::busy(*server), "");
    EXPECT_EQ(std::count(memory_.begin(), memory_.end(), std::byte{0}),
              static_cast<std::ptrdiff_t>(memory_.size()));
    arrive(*server);
    while (!over_) (void)server->receive(1ms);
  });
  std::vector<std::byte> out(memory_.size(), std::byte{7});
  auto copied = peer->copy_to(grant_, 0, out, kLong);
  EXPECT_TRUE(copied) << copied.error().to_string();
  EXPECT_TRUE(memory_ == out);
  resumed_.set_value(false);
  over_ = true;
}

// The peer hears of the grant in the middle of a copy that has begun since. It asks again for what
// was dropped at the gate, and this was not.
TEST_P(ArrivalTest, ACopyThatHasBegunGoesOnWhenThePeerHearsOfTheGrant) {
  auto peer = process_->bind("demo/peer");
  ASSERT_TRUE(peer);
  Remote to;
  start_old_place(*peer, to);
  fresh_ = std::jthread([this] {
    auto server = install_with_memory();
    ASSERT_TRUE(server);
    attached_ = true;  // and with the call's request here, it is not told at once
    // The peer is to hear of it from here, before the directory knows.
    const std::uint32_t epoch = Relocation::epoch(*server) + 1;
    Relocation::open(*server, epoch);
    opened_ = true;
    while (!copied_) process_->progress();
    EXPECT_TRUE(process_->run_until([&] { return Relocation::busy(*server).empty(); }, 5s))
        << "a copy that nobody ends: " << Relocation::busy(*server);
    directory_->moved(server->id(), epoch, *Relocation::engine_address(*process_));
    auto request = server->receive_request(kLong);
    ASSERT_TRUE(request) << request.error().to_string();
    EXPECT_TRUE(server->reply(std::move(*request), Bytes{}));
    while (!over_) (void)server->receive(1ms);
  });
  std::atomic<int> answers{0};
  ASSERT_TRUE(peer->call_async(
      to, Bytes{},
      [&](Result<Message> reply) {
        EXPECT_TRUE(reply) << reply.error().to_string();
        ++answers;
      },
      kLong));
  let_it_attach(*peer);
  while (!opened_) std::this_thread::yield();
  std::vector<std::byte> out(memory_.size(), std::byte{7});
  auto done = peer->copy_to(grant_, 0, out, kLong);
  EXPECT_TRUE(done) << done.error().to_string();
  EXPECT_TRUE(memory_ == out);
  copied_ = true;
  while (answers == 0) keep_going(*peer);
  resumed_.set_value(false);
  over_ = true;
}

INSTANTIATE_TEST_SUITE_P(Transports, ArrivalTest,
                         ::testing::Values(fabric::TransportKind::shm, fabric::TransportKind::tcp),
                         [](const auto& param) {
                           return std::string(fabric::to_string(param.param));
                         });

}  // namespace
}  // namespace godwit
