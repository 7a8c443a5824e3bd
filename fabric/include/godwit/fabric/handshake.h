// The handshake of a connection, without I/O: bytes in, bytes out.
//
//   dialer                                   acceptor
//     Hello(nonce, dc, versions, features) ->
//                                        <-  Hello(nonce, ..., proof)      proves first
//     Proof(proof)                       ->
//                                        <-  Accept(confirmation)
//   and instead of any of them: Reject(code, sentence)
//
// A proof is a keyed hash (libsodium crypto_auth) with the DC's key over the prover's role and both
// Hellos exactly as they were sent: both nonces, both engine ids, the DC and all that is
// negotiated. So a proof cannot be replayed, reflected or moved to another connection, and a man in
// the middle cannot lower the version unnoticed. Frames after the handshake are not protected by
// it.
//
// An acceptor that is not a member of the DC answers with a proof by a random key, and an outsider
// learns no more from it than from a member: neither whether this engine serves the DC nor whether
// there is such a DC at all.
//
// Messages are protobuf (fabric/proto/handshake.proto, docs/wire-format.md), each at most
// kMaxMessage bytes; a transport frames them as it likes. One object per connection, used by the
// engine's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/error.h"
#include "godwit/fabric/frame.h"
#include "godwit/fabric/identity.h"
#include "godwit/fabric/transport.h"

namespace godwit::fabric {

namespace wire {
class Hello;
class Reject;
}  // namespace wire

class Handshake {
 public:
  static constexpr std::uint32_t kVersionMin = 1;
  static constexpr std::uint32_t kVersionMax = 1;
  // Numbered in docs/wire-format.md.
  static constexpr std::uint64_t kLeases = 1;  // copies against grants may be leased
  static constexpr std::uint64_t kAboard = 2;  // an attach may have replies aboard
  static constexpr std::uint64_t kFeatures = kLeases | kAboard;
  static constexpr std::size_t kMaxMessage = 2048;
  static constexpr std::size_t kMaxNodeName = 255;
  static constexpr std::size_t kMaxTransportData = 512;

  enum class State : std::uint8_t { running, established, failed };

  /// What this side offers; the defaults are what this build supports (tests narrow them).
  struct Offer {
    std::uint32_t version_min = kVersionMin;
    std::uint32_t version_max = kVersionMax;
    std::uint64_t features = kFeatures;
    std::uint32_t max_payload = kMaxPayload;  // at least kSmallPayload
    /// Opaque to the handshake and covered by the proof (shm: sizes); at most kMaxTransportData
    /// bytes.
    std::string transport_data;
  };

  /// With `expected`, any other engine that answers is rejected: addresses outlive engines.
  static Handshake dial(const Identity& identity, std::uint32_t dc, Offer offer,
                        std::optional<EngineId> expected = std::nullopt);
  static Handshake accept(const Identity& identity, Offer offer);

  /// Feeds one whole message of the peer. Afterwards look at state() and take_output(). A message
  /// after the end is ignored.
  void on_message(std::span<const std::byte> message);

  /// Messages to send to the peer, in order. A failed handshake may still have a Reject to send.
  std::vector<std::string> take_output();

  State state() const noexcept { return state_; }

  /// When failed: wrong_key, version_mismatch, unreachable (another engine answered),
  /// protocol_error, or invalid_argument (this side's own offer breaks a limit).
  const Error& error() const noexcept { return error_; }

  /// When established.
  const PeerInfo& peer() const noexcept { return peer_; }
  const std::string& peer_transport_data() const noexcept { return peer_transport_data_; }

 private:
  enum class Step : std::uint8_t { hello, proof, accept };

  Handshake(const Identity& identity, Offer offer, bool dialer);
  Result<void> check_offer() const;
  void make_hello(std::uint32_t dc);
  /// Checks the peer's Hello and negotiates; false when it failed.
  bool take_hello(const std::string& bytes);
  void on_rejected(const wire::Reject& reject);
  void send_message(std::string_view hello, std::string_view proof, std::string_view accept);
  void establish();
  /// Fails, and tells the peer why.
  void reject(Errc code, std::string why);
  /// Fails without a word to the peer.
  void fail_with(Errc code, std::string why);
  std::string proof(std::string_view label) const;
  bool proves(std::string_view proof, std::string_view label) const;
  void forget_key() noexcept;

  Identity identity_;
  Offer offer_;
  std::optional<EngineId> expected_;
  bool dialer_;
  Step step_ = Step::hello;
  State state_ = State::running;
  Error error_{};
  PeerInfo peer_;
  std::string peer_transport_data_;
  std::string own_hello_, peer_hello_;  // as sent: what the proofs cover
  DcKey key_{};
  std::vector<std::string> output_;
};

}  // namespace godwit::fabric
