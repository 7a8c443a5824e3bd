#include "godwit/fabric/fabric.h"

#include <algorithm>

#include "shm/shm_transport.h"
#include "tcp/tcp_transport.h"
#include "ucx/ucx_transport.h"
#include "verbs/verbs_transport.h"

namespace godwit::fabric {

Result<std::unique_ptr<Fabric>> Fabric::create(FabricOptions options, ConnectionEvents& events) {
  auto arena = Arena::create(options.arena_capacity);
  if (!arena) return tl::make_unexpected(arena.error());
  auto poller = Poller::create();
  if (!poller) return tl::make_unexpected(poller.error());
  std::unique_ptr<Fabric> fabric(
      new Fabric(std::move(options), events, std::move(*arena), std::move(*poller)));
  auto opened = fabric->open_transports();
  if (!opened) return tl::make_unexpected(opened.error());
  return fabric;
}

Fabric::Fabric(FabricOptions options, ConnectionEvents& events, std::unique_ptr<Arena> arena,
               std::unique_ptr<Poller> poller)
    : options_(std::move(options)),
      arena_(std::move(arena)),
      poller_(std::move(poller)),
      context_{options_.identity,   events, frames_, *arena_, *poller_, options_.runtime_directory,
               options_.listen_host} {
  address_.engine = options_.identity.engine;
  address_.node = options_.identity.node;
}

Fabric::~Fabric() = default;

Result<void> Fabric::open_transports() {
  for (const TransportKind kind : options_.transports) {
    Result<std::unique_ptr<Transport>> made = fail(
        Errc::not_supported, "this build has no transport '" + std::string(to_string(kind)) + "'");
    switch (kind) {
      case TransportKind::shm: {
        shm::ShmTransport::Options shm;
        shm.ring_capacity = options_.ring_capacity;
        made = shm::ShmTransport::create(context_, shm).map([](auto transport) {
          return std::unique_ptr<Transport>(std::move(transport));
        });
        break;
      }
      case TransportKind::tcp:
        made = std::make_unique<tcp::TcpTransport>(context_);
        break;
      case TransportKind::ucx:
        made = make_ucx_transport(context_, options_.ucx);
        break;
      case TransportKind::verbs:
        made = make_verbs_transport(context_, options_.verbs);
        break;
      case TransportKind::loopback:
        break;
    }
    const bool required = options_.force == kind;
    if (!made) {
      if (required) return tl::make_unexpected(made.error());
      continue;
    }
    auto listening = (*made)->listen(address_);
    if (!listening) {
      if (required) return listening;
      continue;
    }
    transports_.push_back(std::move(*made));
  }
  if (transports_.empty()) {
    return fail(Errc::not_supported, "none of the wanted transports works on this machine");
  }
  return {};
}

void Fabric::adopt() noexcept {
  frames_.adopt();
  arena_->adopt();
}

std::vector<TransportKind> Fabric::candidates(const EngineAddress& peer) const {
  std::vector<TransportKind> kinds;
  for (const auto& transport : transports_) {
    if (options_.force && *options_.force != transport->kind()) continue;
    if (transport->can_reach(peer)) kinds.push_back(transport->kind());
  }
  return kinds;
}

std::vector<TransportKind> Fabric::common(const EngineAddress& peer) const {
  std::vector<TransportKind> kinds;
  for (const auto& transport : transports_) {
    const TransportKind kind = transport->kind();
    if (options_.force && *options_.force != kind) continue;
    const bool away = (kind == TransportKind::verbs && !peer.verbs.empty()) ||
                      (kind == TransportKind::ucx && !peer.ucx.empty());
    if (away || transport->can_reach(peer)) kinds.push_back(kind);
  }
  return kinds;
}

Result<Connection*> Fabric::connect(const EngineAddress& peer, std::uint32_t dc,
                                    TransportKind kind) {
  for (const auto& transport : transports_) {
    if (transport->kind() == kind) return transport->connect(peer, dc);
  }
  return fail(Errc::not_supported,
              "this engine has no transport '" + std::string(to_string(kind)) + "'");
}

unsigned Fabric::progress() {
  unsigned events = 0;
  for (const auto& transport : transports_) events += transport->progress();
  return events;
}

unsigned Fabric::poll_descriptors() {
  return poller_->dispatch(std::chrono::nanoseconds(0));
}

void Fabric::sleep(Clock::time_point until) {
  std::size_t armed = 0;
  bool ready = true;
  for (; armed < transports_.size() && ready; ++armed) {
    until = std::min(until, transports_[armed]->next_deadline());
    ready = transports_[armed]->arm();
  }
  if (ready) {
    const auto now = Clock::now();
    const bool endless = until == Clock::time_point::max();
    poller_->dispatch(
        endless ? std::chrono::nanoseconds::max()
                : std::chrono::nanoseconds(std::max(until - now, Clock::duration::zero())));
  } else {
    --armed;  // the one that has work did not stay armed
  }
  for (std::size_t i = 0; i < armed; ++i) transports_[i]->disarm();
}

std::uint64_t Fabric::wakes() const noexcept {
  for (const auto& transport : transports_) {
    if (transport->kind() == TransportKind::shm) {
      return static_cast<const shm::ShmTransport&>(*transport).wakes();
    }
  }
  return 0;
}

}  // namespace godwit::fabric
