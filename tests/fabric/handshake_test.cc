#include "godwit/fabric/handshake.h"

#include <gtest/gtest.h>

#include <optional>

#include "godwit/fabric/handshake.pb.h"

namespace godwit::fabric {
namespace {

using State = Handshake::State;

constexpr std::uint32_t kDc = 7;

Identity identity(std::uint8_t key, std::string node = "node", std::uint32_t member_of = kDc) {
  return {EngineId::random(), std::move(node), [=](std::uint32_t dc) {
            DcKey bytes;
            bytes.fill(key);
            return dc == member_of ? std::optional(bytes) : std::nullopt;
          }};
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

/// A dialer and an acceptor, and every message that passed between them.
struct Meeting {
  explicit Meeting(const Identity& dialer_identity = identity(1),
                   const Identity& acceptor_identity = identity(1),
                   const Handshake::Offer& dialer_offer = {},
                   const Handshake::Offer& acceptor_offer = {})
      : dialer(Handshake::dial(dialer_identity, kDc, dialer_offer)),
        acceptor(Handshake::accept(acceptor_identity, acceptor_offer)) {}

  /// Hands messages over until both are silent. `tamper` may change message number n (from 0).
  template <typename Tamper>
  void run(Tamper tamper) {
    for (bool moved = true; moved;) {
      moved = false;
      for (auto [from, to] : {std::pair(&dialer, &acceptor), std::pair(&acceptor, &dialer)}) {
        for (std::string& message : from->take_output()) {
          EXPECT_LE(message.size(), Handshake::kMaxMessage);
          tamper(messages.size(), message);
          messages.push_back(message);
          to->on_message(bytes_of(message));
          moved = true;
        }
      }
    }
  }
  void run() {
    run([](std::size_t, std::string&) {});
  }

  Handshake dialer, acceptor;
  std::vector<std::string> messages;
};

TEST(Handshake, MembersOfOneDcAgree) {
  Handshake::Offer offer_a, offer_b;
  offer_a.version_max = 5;
  offer_b.version_max = 3;
  offer_a.features = 0b0111;
  offer_b.features = 0b1101;
  offer_a.max_payload = 1 << 20;
  offer_b.max_payload = 1 << 16;
  offer_a.transport_data = "from a";
  offer_b.transport_data = std::string(Handshake::kMaxTransportData, 'b');
  const Identity a = identity(1, "alpha"), b = identity(1, "beta");
  Meeting meeting(a, b, offer_a, offer_b);
  meeting.run();
  ASSERT_EQ(meeting.dialer.state(), State::established) << meeting.dialer.error().to_string();
  ASSERT_EQ(meeting.acceptor.state(), State::established) << meeting.acceptor.error().to_string();
  EXPECT_EQ(meeting.messages.size(), 4u);
  EXPECT_EQ(meeting.dialer.peer().engine, b.engine);
  EXPECT_EQ(meeting.dialer.peer().node, "beta");
  EXPECT_EQ(meeting.acceptor.peer().engine, a.engine);
  EXPECT_EQ(meeting.acceptor.peer().node, "alpha");
  EXPECT_TRUE(meeting.dialer.peer().dialed);
  EXPECT_FALSE(meeting.acceptor.peer().dialed);
  EXPECT_EQ(meeting.acceptor.peer_transport_data(), offer_a.transport_data);
  EXPECT_EQ(meeting.dialer.peer_transport_data(), offer_b.transport_data);
  for (const Handshake* side : {&meeting.dialer, &meeting.acceptor}) {
    EXPECT_EQ(side->peer().dc, kDc);
    EXPECT_EQ(side->peer().version, 3u);
    EXPECT_EQ(side->peer().features, 0b0101u);
    EXPECT_EQ(side->peer().max_payload, 1u << 16);
  }
}

TEST(Handshake, NonMembersFailInEveryCombination) {
  for (const std::uint8_t dialer_key : {1, 2}) {
    for (const std::uint8_t acceptor_key : {1, 2}) {
      for (const std::uint32_t acceptor_dc : {kDc, kDc + 1}) {
        Meeting meeting(identity(dialer_key), identity(acceptor_key, "node", acceptor_dc));
        meeting.run();
        const bool members = dialer_key == acceptor_key && acceptor_dc == kDc;
        const State expected = members ? State::established : State::failed;
        EXPECT_EQ(meeting.dialer.state(), expected);
        EXPECT_EQ(meeting.acceptor.state(), expected);
        if (members) continue;
        EXPECT_EQ(meeting.dialer.error().code, Errc::wrong_key);
        EXPECT_EQ(meeting.acceptor.error().code, Errc::wrong_key);
      }
    }
  }
}

TEST(Handshake, AnAcceptorOutsideTheDcLooksLikeOneInside) {
  // To someone without the key, who goes on although he cannot check the acceptor's proof.
  for (const std::uint32_t acceptor_dc : {kDc, kDc + 1}) {
    Handshake outsider = Handshake::dial(identity(9), kDc, {});
    Handshake acceptor = Handshake::accept(identity(1, "node", acceptor_dc), {});
    acceptor.on_message(bytes_of(outsider.take_output().at(0)));
    EXPECT_EQ(acceptor.state(), State::running);
    wire::HandshakeMessage answer;
    ASSERT_TRUE(answer.ParseFromString(acceptor.take_output().at(0)));
    EXPECT_FALSE(answer.has_reject());
    EXPECT_FALSE(answer.hello().empty());
    EXPECT_EQ(answer.proof().size(), 32u);
    wire::HandshakeMessage guess;
    guess.set_proof(std::string(32, 'x'));
    acceptor.on_message(bytes_of(guess.SerializeAsString()));
    wire::HandshakeMessage verdict;
    ASSERT_TRUE(verdict.ParseFromString(acceptor.take_output().at(0)));
    EXPECT_EQ(verdict.reject().code(), wire::Reject::WRONG_KEY);
    EXPECT_EQ(verdict.reject().message(),
              "the engine cannot prove membership of DC 7: it is no member or has another key");
  }
}

TEST(Handshake, ADialerMustBeAMember) {
  Handshake dialer = Handshake::dial(identity(1), kDc + 1, {});
  EXPECT_EQ(dialer.state(), State::failed);
  EXPECT_EQ(dialer.error().code, Errc::wrong_key);
  EXPECT_TRUE(dialer.take_output().empty());
}

TEST(Handshake, VersionsWithoutOverlapNameBothRanges) {
  for (const bool dialer_is_newer : {true, false}) {
    Handshake::Offer newer;
    newer.version_min = 4;
    newer.version_max = 6;
    Meeting meeting(identity(1), identity(1), dialer_is_newer ? newer : Handshake::Offer{},
                    dialer_is_newer ? Handshake::Offer{} : newer);
    meeting.run();
    for (const Handshake* side : {&meeting.dialer, &meeting.acceptor}) {
      ASSERT_EQ(side->state(), State::failed);
      EXPECT_EQ(side->error().code, Errc::version_mismatch);
      const bool is_newer = (side == &meeting.dialer) == dialer_is_newer;
      EXPECT_EQ(side->error().message,
                is_newer ? "no common wire version: this engine speaks 4 to 6, the peer 1 to 1"
                         : "no common wire version: this engine speaks 1 to 1, the peer 4 to 6");
    }
  }
}

TEST(Handshake, AnotherEngineThanExpectedIsRejected) {
  Handshake dialer = Handshake::dial(identity(1), kDc, {}, EngineId::random());
  Handshake acceptor = Handshake::accept(identity(1), {});
  acceptor.on_message(bytes_of(dialer.take_output().at(0)));
  dialer.on_message(bytes_of(acceptor.take_output().at(0)));
  EXPECT_EQ(dialer.state(), State::failed);
  EXPECT_EQ(dialer.error().code, Errc::unreachable);
  acceptor.on_message(bytes_of(dialer.take_output().at(0)));
  EXPECT_EQ(acceptor.error().code, Errc::unreachable);
}

// Whatever single byte is changed on the way, neither side believes what the other did not say:
// the side that takes the changed message fails, and at most the sender of the very last message,
// who waits for nothing, is established.
TEST(Handshake, AnyChangedByteOfAnyMessageFails) {
  Meeting sound;
  sound.run();
  ASSERT_EQ(sound.messages.size(), 4u);
  for (std::size_t number = 0; number < 4; ++number) {
    for (const unsigned flip : {0x01u, 0x08u, 0x80u, 0xffu}) {
      for (std::size_t at = 0; at < sound.messages[number].size(); ++at) {
        Meeting meeting;
        bool changed = false;
        meeting.run([&](std::size_t n, std::string& message) {
          if (n != number || at >= message.size()) return;
          message[at] = static_cast<char>(message[at] ^ flip);
          changed = true;
        });
        ASSERT_TRUE(changed);
        const bool last = number == 3;
        EXPECT_EQ(meeting.dialer.state(), State::failed)
            << "message " << number << ", byte " << at << ", flip " << flip;
        EXPECT_EQ(meeting.acceptor.state(), last ? State::established : State::failed)
            << "message " << number << ", byte " << at << ", flip " << flip;
      }
    }
  }
}

TEST(Handshake, TruncatedAndOversizedMessagesFail) {
  Meeting sound;
  sound.run();
  for (std::size_t size = 0; size < sound.messages[0].size(); ++size) {
    Meeting meeting;
    meeting.run([&](std::size_t n, std::string& message) {
      if (n == 0) message.resize(size);
    });
    EXPECT_EQ(meeting.acceptor.state(), State::failed) << size;
    EXPECT_EQ(meeting.acceptor.error().code, Errc::protocol_error);
  }
  Handshake acceptor = Handshake::accept(identity(1), {});
  acceptor.on_message(bytes_of(std::string(Handshake::kMaxMessage + 1, '\0')));
  EXPECT_EQ(acceptor.state(), State::failed);
}

TEST(Handshake, AReplayedDialerIsNotBelieved) {
  const Identity server = identity(1);
  Meeting recorded(identity(1), server);
  recorded.run();
  ASSERT_EQ(recorded.acceptor.state(), State::established);
  Handshake acceptor = Handshake::accept(server, {});
  acceptor.on_message(bytes_of(recorded.messages[0]));
  ASSERT_EQ(acceptor.state(), State::running);
  acceptor.on_message(bytes_of(recorded.messages[2]));
  EXPECT_EQ(acceptor.state(), State::failed);
  EXPECT_EQ(acceptor.error().code, Errc::wrong_key);
}

TEST(Handshake, AReplayedAcceptorIsNotBelieved) {
  const Identity client = identity(1);
  Meeting recorded(client, identity(1));
  recorded.run();
  Handshake dialer = Handshake::dial(client, kDc, {});
  dialer.on_message(bytes_of(recorded.messages[1]));
  EXPECT_EQ(dialer.state(), State::failed);
  EXPECT_EQ(dialer.error().code, Errc::wrong_key);
}

TEST(Handshake, AReflectedProofIsNotBelieved) {
  // An attacker without the key answers the dialer with the dialer's own words, and hands the
  // acceptor's own proof back to it.
  Handshake dialer = Handshake::dial(identity(1), kDc, {});
  const std::string hello = dialer.take_output().at(0);
  dialer.on_message(bytes_of(hello));
  EXPECT_EQ(dialer.state(), State::failed);

  Handshake second = Handshake::dial(identity(1), kDc, {});
  Handshake acceptor = Handshake::accept(identity(1), {});
  acceptor.on_message(bytes_of(second.take_output().at(0)));
  wire::HandshakeMessage answer;
  ASSERT_TRUE(answer.ParseFromString(acceptor.take_output().at(0)));
  wire::HandshakeMessage reflected;
  reflected.set_proof(answer.proof());
  acceptor.on_message(bytes_of(reflected.SerializeAsString()));
  EXPECT_EQ(acceptor.state(), State::failed);
  EXPECT_EQ(acceptor.error().code, Errc::wrong_key);
}

TEST(Handshake, ALoweredVersionIsNoticed) {
  Handshake::Offer offer;
  offer.version_max = 2;
  Meeting meeting(identity(1), identity(1), offer, offer);
  meeting.run([](std::size_t n, std::string& message) {
    if (n != 0) return;
    wire::HandshakeMessage outer;
    wire::Hello hello;
    ASSERT_TRUE(outer.ParseFromString(message) && hello.ParseFromString(outer.hello()));
    hello.set_version_max(1);
    outer.set_hello(hello.SerializeAsString());
    message = outer.SerializeAsString();
  });
  EXPECT_EQ(meeting.dialer.state(), State::failed);
  EXPECT_EQ(meeting.acceptor.state(), State::failed);
}

TEST(Handshake, HellosBeyondTheLimitsAreRefused) {
  const auto refused = [](auto change) {
    Meeting meeting;
    meeting.run([&](std::size_t n, std::string& message) {
      if (n != 0) return;
      wire::HandshakeMessage outer;
      wire::Hello hello;
      ASSERT_TRUE(outer.ParseFromString(message) && hello.ParseFromString(outer.hello()));
      change(hello);
      outer.set_hello(hello.SerializeAsString());
      message = outer.SerializeAsString();
    });
    return meeting.acceptor.state() == State::failed &&
           meeting.acceptor.error().code == Errc::protocol_error;
  };
  EXPECT_TRUE(refused([](wire::Hello& hello) { hello.set_node(std::string(256, 'n')); }));
  EXPECT_TRUE(refused([](wire::Hello& hello) { hello.set_node(""); }));
  EXPECT_TRUE(refused([](wire::Hello& hello) { hello.set_node("a\nb"); }));
  EXPECT_TRUE(refused([](wire::Hello& hello) { hello.set_node(std::string("a\0b", 3)); }));
  EXPECT_TRUE(refused([](wire::Hello& hello) { hello.set_transport_data(std::string(513, 't')); }));
  EXPECT_TRUE(refused([](wire::Hello& hello) { hello.set_nonce("short"); }));
  EXPECT_TRUE(refused([](wire::Hello& hello) { hello.set_max_payload(kSmallPayload - 1); }));
  EXPECT_TRUE(refused([](wire::Hello& hello) { hello.set_version_min(9); }));
}

TEST(Handshake, AnOfferBeyondTheLimitsIsTheCallersError) {
  Handshake::Offer offer;
  offer.transport_data = std::string(513, 't');
  EXPECT_EQ(Handshake::dial(identity(1), kDc, offer).error().code, Errc::invalid_argument);
  EXPECT_EQ(Handshake::dial(identity(1, ""), kDc, {}).error().code, Errc::invalid_argument);
  EXPECT_EQ(Handshake::accept(identity(1, "a\tb"), {}).error().code, Errc::invalid_argument);
}

TEST(Handshake, AnEngineMayMeetItself) {
  const Identity one = identity(1);
  Meeting meeting(one, one);
  meeting.run();
  EXPECT_EQ(meeting.dialer.state(), State::established);
  EXPECT_EQ(meeting.acceptor.state(), State::established);
}

TEST(Handshake, WhatThePeerSaysIsCleanedBeforeItIsShown) {
  Handshake dialer = Handshake::dial(identity(1), kDc, {});
  wire::HandshakeMessage message;
  message.mutable_reject()->set_message("\x1b[31m" + std::string(1000, 'x'));
  dialer.on_message(bytes_of(message.SerializeAsString()));
  ASSERT_EQ(dialer.state(), State::failed);
  EXPECT_EQ(dialer.error().message.find('\x1b'), std::string::npos);
  EXPECT_LT(dialer.error().message.size(), 400u);
}

}  // namespace
}  // namespace godwit::fabric
