#include "fabric/transport_factories.h"

#include "godwit/fabric/loopback.h"
#include "godwit/fabric/rdma_hosts.h"
#include "shm/shm_transport.h"
#include "tcp/tcp_transport.h"
#include "ucx/ucx_transport.h"
#include "verbs/verbs_transport.h"

namespace godwit::fabric::testing {

namespace {

using Offer = std::optional<Handshake::Offer>;

std::unique_ptr<Transport> make_tcp(TransportContext& context, const Offer& offer) {
  tcp::TcpOptions options;
  if (offer) options.offer = *offer;
  return std::make_unique<tcp::TcpTransport>(context, options);
}

// Sockets that take little at a time: every write of a large payload is partial.
std::unique_ptr<Transport> make_narrow_tcp(TransportContext& context, const Offer& offer) {
  tcp::TcpOptions options;
  if (offer) options.offer = *offer;
  options.send_buffer = 96 << 10;
  return std::make_unique<tcp::TcpTransport>(context, options);
}

std::unique_ptr<Transport> make_loopback(TransportContext& context, const Offer& offer) {
  // One hub for all engines of a test; they find each other by their random ids.
  static LoopbackHub hub(20'000);
  return hub.make_transport(context, offer.value_or(Handshake::Offer{}));
}

std::unique_ptr<Transport> make_shm(TransportContext& context, const Offer& offer) {
  if (offer) return nullptr;  // shm makes its own
  auto made = shm::ShmTransport::create(context, {});
  return made ? std::move(*made) : nullptr;
}

template <const char* tls>
std::unique_ptr<Transport> make_ucx(TransportContext& context, const Offer& offer) {
  UcxOptions options;
  options.tls = tls;
  auto made = make_ucx_transport(context, options, offer.value_or(Handshake::Offer{}));
  return made ? std::move(*made) : nullptr;
}
std::unique_ptr<Transport> make_ucx_rdma(TransportContext& context, const Offer& offer) {
  UcxOptions options;
  options.host = rdma_hosts().front();
  auto made = make_ucx_transport(context, options, offer.value_or(Handshake::Offer{}));
  return made ? std::move(*made) : nullptr;
}

enum class Verbs { usual, narrow };
template <Verbs how>
std::unique_ptr<Transport> make_verbs(TransportContext& context, const Offer& offer) {
  VerbsOptions options;
  options.host = rdma_hosts().front();
  if (how == Verbs::narrow) {
    // Nothing inline, no payload in place, small windows, and little locked memory.
    options.inline_bytes = 0;
    options.window = 8;
    options.send_depth = 32;
    options.send_slots = 24;
    options.locked_bytes = 4 << 20;
    options.rendezvous_threshold = 300'000;
  }
  auto made = make_verbs_transport(context, options, offer.value_or(Handshake::Offer{}));
  return made ? std::move(*made) : nullptr;
}

constexpr char kUcxTcp[] = "tcp";
constexpr char kUcxPosix[] = "posix,tcp";

}  // namespace

namespace {

std::vector<TransportFactory> make_factories() {
  std::vector<TransportFactory> factories = {
      {"loopback", make_loopback, false},
      {"shm", make_shm},
      {"tcp", make_tcp},
      {"tcp_narrow", make_narrow_tcp},
  };
  if (ucx_available()) {
    factories.push_back({"ucx_tcp", make_ucx<kUcxTcp>});
    factories.push_back({"ucx_posix", make_ucx<kUcxPosix>});
    if (!rdma_hosts().empty()) factories.push_back({"ucx_rdma", make_ucx_rdma});
  }
  if (verbs_available() && !rdma_hosts().empty()) {
    factories.push_back({"verbs", make_verbs<Verbs::usual>});
    factories.push_back({"verbs_narrow", make_verbs<Verbs::narrow>});
  }
  return factories;
}

}  // namespace

std::vector<TransportFactory> transport_factories() {
  // GoogleTest asks once for each test of a suite.
  static const std::vector<TransportFactory> factories = make_factories();
  return factories;
}

}  // namespace godwit::fabric::testing
