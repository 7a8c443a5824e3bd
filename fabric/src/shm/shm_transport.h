// ShmTransport: shared memory between engines of one node (same kernel, same user).
//
// Listens on a Unix socket `<runtime directory>/<engine id>.shm`. Memory per connection: two rings
// of `ring capacity` (128 KiB by default) in shared memory, one made by each side, and the peer's
// arena mapped read-only (address space only). Owned by the engine; its thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "godwit/fabric/poller.h"
#include "godwit/fabric/transport.h"
#include "shm/memory.h"
#include "shm/ring.h"
#include "shm/shm_connection.h"
#include "shm/sleep.h"

namespace godwit::fabric::shm {

class ShmTransport final : public Transport, private PollHandler {
 public:
  struct Options {
    std::uint32_t ring_capacity = kDefaultRing;  // a power of two from 16 KiB to 16 MiB
    bool barriers = true;  // false: senders fence, for kernels without membarrier
  };

  static Result<std::unique_ptr<ShmTransport>> create(TransportContext& context, Options options);
  ~ShmTransport() override;

  TransportKind kind() const noexcept override { return TransportKind::shm; }
  Result<void> listen(EngineAddress& address) override;
  bool can_reach(const EngineAddress& peer) const override;
  Result<Connection*> connect(const EngineAddress& peer, std::uint32_t dc) override;
  unsigned progress() override;
  bool arm() override;
  void disarm() override;
  std::chrono::steady_clock::time_point next_deadline() const override;

  /// Wake-ups written to sleeping peers since the start.
  std::uint64_t wakes() const noexcept { return wakes_; }

  // For the connections.
  TransportContext& context() noexcept { return context_; }
  std::uint32_t ring_capacity() const noexcept { return options_.ring_capacity; }
  bool barriers() const noexcept { return barriers_; }
  int page_fd() const noexcept { return page_fd_.get(); }
  void count_wake(bool woken) noexcept { wakes_ += woken ? 1 : 0; }
  void established(ShmConnection& connection);
  void closing(ShmConnection& connection);
  void poke() noexcept { attention_ = true; }

 private:
  /// Lent blocks of a closed connection, kept until the peer has let go of them.
  class Quarantine;

  ShmTransport(TransportContext& context, Options options, Mapping page, Descriptor page_fd);
  void on_ready(std::uint32_t events) override;
  Result<ShmConnection*> add(Descriptor socket, Handshake handshake);
  Handshake::Offer offer() const;
  void reap();
  EnginePage& page() noexcept { return *reinterpret_cast<EnginePage*>(page_.base()); }

  TransportContext& context_;
  Options options_;
  bool barriers_;
  Mapping page_;
  Descriptor page_fd_;
  Descriptor listener_;
  std::string socket_path_;
  std::vector<std::unique_ptr<ShmConnection>> connections_;
  std::vector<ShmConnection*> active_;   // established: what progress() polls
  std::vector<ShmConnection*> closing_;  // on_closed is due
  std::vector<ShmConnection*> fresh_;    // on_established is due
  std::vector<std::unique_ptr<Quarantine>> quarantine_;
  std::uint64_t wakes_ = 0;
  bool attention_ = false;  // something other than the rings wants progress()
};

}  // namespace godwit::fabric::shm
