// The handshake of a connection, without I/O: bytes in, bytes out.
//
//   dialer                                   acceptor
//     Hello(nonce, dc, versions, features) ->
//                                        <-  Hello(nonce, ..., proof)      proves first
//     Proof(proof)                       ->
//                                        <-  Accept                        or Reject(code,
//                                        sentence)
//
// A proof is a keyed hash (libsodium crypto_auth) with the DC's key over the role, both nonces,
// both engine ids, the DC and the negotiated terms, so a proof cannot be replayed, reflected or
// moved to another connection, and a man in the middle cannot lower the version unnoticed. Messages
// are protobuf; a transport frames them as it likes. Each message is at most kMaxMessage bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "godwit/error.h"
#include "godwit/fabric/identity.h"
#include "godwit/fabric/transport.h"

namespace godwit::fabric {

class Handshake {
 public:
  static constexpr std::uint32_t kVersionMin = 1;
  static constexpr std::uint32_t kVersionMax = 1;
  static constexpr std::uint64_t kFeatures = 0;  // numbered in docs/wire-format.md
  static constexpr std::size_t kMaxMessage = 2048;

  enum class State : std::uint8_t { running, established, failed };

  /// What this side offers; the defaults are what this build supports (tests narrow them).
  struct Offer {
    std::uint32_t version_min = kVersionMin;
    std::uint32_t version_max = kVersionMax;
    std::uint64_t features = kFeatures;
    std::uint32_t max_payload = kMaxPayload;
    std::string
        transport_data;  // opaque to the handshake, covered by the proof (shm: sizes; <= 512 bytes)
  };

  static Handshake dial(const Identity& identity, std::uint32_t dc, Offer offer);
  static Handshake accept(const Identity& identity, Offer offer);

  /// Feeds one whole message of the peer. Afterwards look at state() and take_output().
  void on_message(std::span<const std::byte> message);

  /// Messages to send to the peer, in order. A failed handshake may still have a Reject to send.
  std::vector<std::string> take_output();

  State state() const noexcept { return state_; }
  const Error& error() const noexcept { return error_; }   // when failed
  const PeerInfo& peer() const noexcept { return peer_; }  // when established
  const std::string& peer_transport_data() const noexcept { return peer_transport_data_; }

 private:
  enum class Step : std::uint8_t { hello, proof, accept, done };

  Handshake(const Identity& identity, Offer offer, bool dialer);
  void on_hello(std::string_view body);
  void on_proof(std::string_view body);
  void reject(Errc code, std::string why);
  std::string proof(bool of_dialer) const;

  Identity identity_;
  Offer offer_;
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
