#include "godwit/fabric/handshake.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "godwit/fabric/handshake.pb.h"
#include "names.h"

namespace godwit::fabric {

namespace {

constexpr std::size_t kNonceSize = 32;
constexpr std::size_t kMaxSentence = 256;
static_assert(std::tuple_size_v<DcKey> == crypto_auth_KEYBYTES);

// What a proof says. The labels differ so that no proof can stand for another one.
constexpr std::string_view kAcceptorProves = "godwit handshake: acceptor";
constexpr std::string_view kDialerProves = "godwit handshake: dialer";
constexpr std::string_view kAccepted = "godwit handshake: accepted";

bool sodium_ready() noexcept {
  static const bool ready = sodium_init() >= 0;
  return ready;
}

void append_counted(std::string& to, std::string_view bytes) {
  const auto size = static_cast<std::uint32_t>(bytes.size());
  char prefix[sizeof size];
  std::memcpy(prefix, &size, sizeof size);
  to.append(prefix, sizeof prefix).append(bytes);
}

// The peer's words end up in our logs: no control characters, no novel.
std::string printable(std::string_view text) {
  std::string clean(text.substr(0, kMaxSentence));
  std::replace_if(
      clean.begin(), clean.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return clean;
}

std::string range(std::uint32_t from, std::uint32_t to) {
  return std::to_string(from) + " to " + std::to_string(to);
}

wire::Reject::Code reject_code(Errc code) {
  switch (code) {
    case Errc::wrong_key:
      return wire::Reject::WRONG_KEY;
    case Errc::version_mismatch:
      return wire::Reject::VERSION_MISMATCH;
    case Errc::unreachable:
      return wire::Reject::WRONG_ENGINE;
    default:
      return wire::Reject::PROTOCOL_ERROR;
  }
}

}  // namespace

Handshake::Handshake(const Identity& identity, Offer offer, bool dialer)
    : identity_(identity), offer_(std::move(offer)), dialer_(dialer) {
  peer_.dialed = dialer;
}

Handshake Handshake::dial(const Identity& identity, std::uint32_t dc, Offer offer,
                          std::optional<EngineId> expected) {
  Handshake handshake(identity, std::move(offer), true);
  handshake.expected_ = expected;
  if (auto checked = handshake.check_offer(); !checked) {
    handshake.fail_with(checked.error().code, checked.error().message);
    return handshake;
  }
  const std::optional<DcKey> key = identity.keys ? identity.keys(dc) : std::nullopt;
  if (!key) {
    handshake.fail_with(Errc::wrong_key,
                        "this process is not a member of DC " + std::to_string(dc));
    return handshake;
  }
  handshake.peer_.dc = dc;
  handshake.key_ = *key;
  handshake.make_hello(dc);
  handshake.send_message(handshake.own_hello_, {}, {});
  return handshake;
}

Handshake Handshake::accept(const Identity& identity, Offer offer) {
  Handshake handshake(identity, std::move(offer), false);
  if (auto checked = handshake.check_offer(); !checked) {
    handshake.fail_with(checked.error().code, checked.error().message);
  }
  return handshake;
}

Result<void> Handshake::check_offer() const {
  if (!sodium_ready()) return fail(Errc::system, "libsodium cannot be initialised");
  if (!valid_node_name(identity_.node)) {
    return fail(Errc::invalid_argument,
                "the node's name must have 1 to 255 bytes and no control character");
  }
  if (offer_.transport_data.size() > kMaxTransportData || offer_.max_payload < kSmallPayload ||
      offer_.version_min > offer_.version_max) {
    return fail(Errc::invalid_argument, "the offer of the handshake breaks its limits");
  }
  return {};
}

void Handshake::make_hello(std::uint32_t dc) {
  wire::Hello hello;
  hello.set_engine_high(identity_.engine.high);
  hello.set_engine_low(identity_.engine.low);
  std::string nonce(kNonceSize, '\0');
  randombytes_buf(nonce.data(), nonce.size());
  hello.set_nonce(std::move(nonce));
  hello.set_dc(dc);
  hello.set_version_min(offer_.version_min);
  hello.set_version_max(offer_.version_max);
  hello.set_features(offer_.features);
  hello.set_max_payload(std::min(offer_.max_payload, kMaxPayload));
  hello.set_node(identity_.node);
  hello.set_transport_data(offer_.transport_data);
  own_hello_ = hello.SerializeAsString();
}

void Handshake::on_message(std::span<const std::byte> bytes) {
  if (state_ != State::running) return;
  wire::HandshakeMessage message;
  if (bytes.size() > kMaxMessage ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return reject(Errc::protocol_error, "a handshake message cannot be read");
  }
  if (message.has_reject()) return on_rejected(message.reject());

  if (step_ == Step::hello) {
    if (!take_hello(message.hello())) return;
    if (dialer_) {
      if (!proves(message.proof(), kAcceptorProves)) {
        return reject(Errc::wrong_key, "the engine cannot prove membership of DC " +
                                           std::to_string(peer_.dc) +
                                           ": it is no member or has another key");
      }
      // Only now is the engine's id worth a judgement: an outsider can claim any.
      if (expected_ && *expected_ != peer_.engine) {
        return reject(Errc::unreachable, "engine " + peer_.engine.to_string() +
                                             " answers where engine " + expected_->to_string() +
                                             " was expected");
      }
      send_message({}, proof(kDialerProves), {});
      step_ = Step::accept;
    } else {
      send_message(own_hello_, proof(kAcceptorProves), {});
      step_ = Step::proof;
    }
  } else if (step_ == Step::proof) {
    if (!proves(message.proof(), kDialerProves)) {
      return reject(Errc::wrong_key, "the engine cannot prove membership of DC " +
                                         std::to_string(peer_.dc) +
                                         ": it is no member or has another key");
    }
    send_message({}, {}, proof(kAccepted));
    establish();
  } else {
    if (!proves(message.accept(), kAccepted)) {
      return reject(Errc::protocol_error, "the handshake's last message is not genuine");
    }
    establish();
  }
}

bool Handshake::take_hello(const std::string& bytes) {
  wire::Hello hello;
  if (bytes.empty() || !hello.ParseFromString(bytes) || hello.nonce().size() != kNonceSize ||
      !valid_node_name(hello.node()) || hello.transport_data().size() > kMaxTransportData ||
      hello.version_min() > hello.version_max() || hello.max_payload() < kSmallPayload) {
    reject(Errc::protocol_error, "a Hello breaks the protocol's limits");
    return false;
  }
  const EngineId engine{hello.engine_high(), hello.engine_low()};
  // An engine may meet itself: two of its endpoints talk. The proofs carry the role, so that is no
  // way to have one's own proof reflected.
  if (dialer_ && hello.dc() != peer_.dc) {
    reject(Errc::protocol_error, "the engine answered for another DC");
    return false;
  }
  const std::uint32_t version = std::min(offer_.version_max, hello.version_max());
  if (version < std::max(offer_.version_min, hello.version_min())) {
    reject(Errc::version_mismatch, "no common wire version: this engine speaks " +
                                       range(offer_.version_min, offer_.version_max) +
                                       ", the peer " +
                                       range(hello.version_min(), hello.version_max()));
    return false;
  }
  peer_.engine = engine;
  peer_.dc = hello.dc();
  peer_.node = hello.node();
  peer_.version = version;
  peer_.features = offer_.features & hello.features();
  peer_.max_payload = std::min({offer_.max_payload, hello.max_payload(), kMaxPayload});
  peer_transport_data_ = hello.transport_data();
  peer_hello_ = bytes;
  if (!dialer_) {
    const std::optional<DcKey> key = identity_.keys ? identity_.keys(hello.dc()) : std::nullopt;
    if (key) {
      key_ = *key;
    } else {
      randombytes_buf(key_.data(), key_.size());
    }
    make_hello(hello.dc());
  }
  return true;
}

void Handshake::on_rejected(const wire::Reject& reject) {
  const std::string said = reject.message().empty() ? "" : " (" + printable(reject.message()) + ")";
  switch (reject.code()) {
    case wire::Reject::WRONG_KEY:
      return fail_with(Errc::wrong_key,
                       "the peer does not take this engine for a member of the DC" + said);
    case wire::Reject::VERSION_MISMATCH:
      return fail_with(Errc::version_mismatch,
                       "no common wire version: this engine speaks " +
                           range(offer_.version_min, offer_.version_max) + ", the peer " +
                           range(reject.version_min(), reject.version_max()));
    case wire::Reject::WRONG_ENGINE:
      return fail_with(Errc::unreachable, "the peer looked for another engine" + said);
    default:
      return fail_with(Errc::protocol_error, "the peer ended the handshake" + said);
  }
}

void Handshake::send_message(std::string_view hello, std::string_view proof,
                             std::string_view accept) {
  wire::HandshakeMessage message;
  message.set_hello(hello.data(), hello.size());
  message.set_proof(proof.data(), proof.size());
  message.set_accept(accept.data(), accept.size());
  output_.push_back(message.SerializeAsString());
}

void Handshake::establish() {
  state_ = State::established;
  forget_key();
}

void Handshake::reject(Errc code, std::string why) {
  wire::HandshakeMessage message;
  wire::Reject& reject = *message.mutable_reject();
  reject.set_code(reject_code(code));
  reject.set_message(why.substr(0, kMaxSentence));
  reject.set_version_min(offer_.version_min);
  reject.set_version_max(offer_.version_max);
  output_.push_back(message.SerializeAsString());
  fail_with(code, std::move(why));
}

void Handshake::fail_with(Errc code, std::string why) {
  state_ = State::failed;
  error_ = Error{code, std::move(why), {}};
  forget_key();
}

void Handshake::forget_key() noexcept {
  sodium_memzero(key_.data(), key_.size());
}

std::string Handshake::proof(std::string_view label) const {
  std::string covered;
  covered.reserve(own_hello_.size() + peer_hello_.size() + label.size() + 16);
  append_counted(covered, label);
  append_counted(covered, dialer_ ? own_hello_ : peer_hello_);
  append_counted(covered, dialer_ ? peer_hello_ : own_hello_);
  std::string mac(crypto_auth_BYTES, '\0');
  crypto_auth(reinterpret_cast<unsigned char*>(mac.data()),
              reinterpret_cast<const unsigned char*>(covered.data()), covered.size(), key_.data());
  return mac;
}

bool Handshake::proves(std::string_view claimed, std::string_view label) const {
  const std::string expected = proof(label);
  return claimed.size() == expected.size() &&
         sodium_memcmp(claimed.data(), expected.data(), expected.size()) == 0;
}

std::vector<std::string> Handshake::take_output() {
  return std::exchange(output_, {});
}

}  // namespace godwit::fabric
