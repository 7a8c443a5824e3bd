#include "fabric/transport_factories.h"

#include "godwit/fabric/loopback.h"
#include "tcp/tcp_transport.h"

namespace godwit::fabric::testing {

namespace {

using Offer = std::optional<Handshake::Offer>;

std::unique_ptr<Transport> make_tcp(TransportContext& context, const Offer& offer) {
  tcp::TcpOptions options;
  if (offer) options.offer = *offer;
  return std::make_unique<tcp::TcpTransport>(context, options);
}

// Sockets that hold next to nothing: every write is partial.
std::unique_ptr<Transport> make_narrow_tcp(TransportContext& context, const Offer& offer) {
  tcp::TcpOptions options;
  if (offer) options.offer = *offer;
  options.send_buffer = 1;
  options.receive_buffer = 1;
  return std::make_unique<tcp::TcpTransport>(context, options);
}

std::unique_ptr<Transport> make_loopback(TransportContext& context, const Offer& offer) {
  // One hub for all engines of a test; they find each other by their random ids.
  static LoopbackHub hub(20'000);
  return hub.make_transport(context, offer.value_or(Handshake::Offer{}));
}

}  // namespace

std::vector<TransportFactory> transport_factories() {
  return {
      {"loopback", make_loopback, false},
      {"tcp", make_tcp},
      {"tcp_narrow", make_narrow_tcp},
  };
}

}  // namespace godwit::fabric::testing
