// VerbsTransport: RDMA reliable connections between engines.
//
// Owned by the engine; its thread only. One device, that of the address it listens on, with one
// shared receive queue and two completion queues for all connections. Connections are made by
// librdmacm without blocking: its event channel stands in the engine's Poller, as do the channel of
// completions and the device's own events. Completions are polled by progress(); events are asked
// for only when the engine is about to sleep.
//
// Losing the device. All connections end with connection_lost, everything that refers to the device
// is released, and can_reach() says no. The transport then looks now and then whether the device is
// back, and listens again at the port that its address tells.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "godwit/fabric/handshake.h"
#include "godwit/fabric/poller.h"
#include "godwit/fabric/transport.h"
#include "godwit/fabric/verbs_options.h"
#include "verbs/device.h"
#include "verbs/handles.h"
#include "verbs/link.h"
#include "verbs/link_table.h"
#include "verbs/verbs_connection.h"

namespace godwit::fabric::verbs {

class VerbsTransport final : public Transport {
 public:
  using Clock = std::chrono::steady_clock;

  static Result<std::unique_ptr<VerbsTransport>> create(TransportContext& context,
                                                        VerbsOptions options,
                                                        Handshake::Offer offer = {});
  /// Ends all connections without telling of it; the peers learn it from the connection manager.
  ~VerbsTransport() override;

  TransportKind kind() const noexcept override { return TransportKind::verbs; }
  Result<void> listen(EngineAddress& address) override;
  bool can_reach(const EngineAddress& peer) const override;
  Result<Connection*> connect(const EngineAddress& peer, std::uint32_t dc) override;
  unsigned progress() override;
  bool arm() override;
  void disarm() override {}
  Clock::time_point next_deadline() const override;

  // For the connections.
  TransportContext& context() noexcept { return context_; }
  const VerbsOptions& options() const noexcept { return options_; }
  Device& device() noexcept { return *device_; }
  bool is_ours(const rdma_cm_id* id) const noexcept;
  void established(VerbsConnection& connection);
  void closing(VerbsConnection& connection);
  void writable(VerbsConnection& connection);
  void due(VerbsConnection& connection);
  void starved(VerbsConnection& connection);

  // For tests.
  bool has_device() const noexcept { return device_ != nullptr; }
  std::size_t links() const noexcept { return links_.size(); }
  /// Moves the queue pairs of all connections into their error state, as a failing device would.
  void break_pairs();

 private:
  struct Watch final : PollHandler {
    Watch(VerbsTransport& transport, void (VerbsTransport::*handler)())
        : self(transport), then(handler) {}
    void on_ready(std::uint32_t) override { (self.*then)(); }
    VerbsTransport& self;
    void (VerbsTransport::*then)();
  };

  VerbsTransport(TransportContext& context, VerbsOptions options, Handshake::Offer offer);

  // The device (device_life.cc).
  std::string host() const { return options_.host.empty() ? context_.listen_host : options_.host; }
  Result<void> open_device(std::uint16_t port);
  void on_device_events();
  void lose_device(const char* why, bool removed);
  void close_device();
  void revive();

  // The connection manager (cm_events.cc).
  Result<Handle<rdma_cm_id>> make_id();
  void on_cm_events();
  void on_cm_event(rdma_cm_event_type type, int status, rdma_cm_id* id, std::string_view data);
  void on_request(Handle<rdma_cm_id> id, std::string_view introduction);
  void on_peer_gone(Link& link, Error reason);

  Result<std::unique_ptr<Link>> make_link(Handle<rdma_cm_id> id);
  VerbsConnection& add(Handshake handshake, std::unique_ptr<Link> link);
  Handshake::Offer offer(std::uint32_t window) const;

  unsigned poll_receives();
  void on_receive(const ibv_wc& completion);
  unsigned poll_sends();
  void on_sent(const ibv_wc& completion);
  Link* link_of_pair(std::uint32_t number);
  void on_completions() { device_->take_events(); }

  unsigned settle();
  void send_updates();
  void feed_starved();
  void check_deadlines();
  unsigned close_lost();
  void part(std::unique_ptr<Link> link);
  void close_parted();
  void destroy(std::unique_ptr<Link> link);

  /// Peers that may be in their handshake at once; more are refused.
  static constexpr std::size_t kMaxHandshakes = 256;
  /// How long a link has to deliver its last words.
  static constexpr std::chrono::milliseconds kPartTime{200};

  TransportContext& context_;
  VerbsOptions options_;
  Handshake::Offer offer_;

  Handle<rdma_event_channel> channel_;
  std::unique_ptr<CmContextUse> cm_context_;
  std::unique_ptr<Device> device_;
  bool device_lost_ = false;  // it goes as soon as its links are gone
  bool device_removed_ = false;
  std::uint16_t port_ = 0;
  Clock::time_point revive_at_ = Clock::time_point::max();
  Handle<rdma_cm_id> listener_;

  LinkTable<Link> links_;
  std::unordered_map<const VerbsConnection*, std::unique_ptr<VerbsConnection>> connections_;

  bool attention_ = false;                     // settle() has something to do
  std::vector<VerbsConnection*> handshaking_;  // those with a deadline, both sides
  std::vector<VerbsConnection*> writable_;     // on_writable is due
  std::vector<VerbsConnection*> closing_;      // on_closed is due
  std::vector<VerbsConnection*> due_;          // owe the peer an update
  std::vector<VerbsConnection*> starved_;      // wait for room in what all share
  std::vector<std::unique_ptr<Link>> parting_;

  Watch cm_watch_, completion_watch_, device_watch_;
};

}  // namespace godwit::fabric::verbs
