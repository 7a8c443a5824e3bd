// UcxTransport: connections over UCX active messages.
//
// One ucp_worker in single-threaded mode; owned by the engine, its thread only. Its event
// descriptor stands in the engine's Poller while the transport lives.
//
// Closing. UCX's forced close tells the peer by another socket than the data's, so that it may drop
// frames that have arrived; and it needs progress on our side. So a closing connection says goodbye
// behind its last frame, and its endpoint is closed once the peer has hung up (or after kPartTime).
#pragma once

#include <ucp/api/ucp.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "godwit/fabric/handshake.h"
#include "godwit/fabric/poller.h"
#include "godwit/fabric/transport.h"
#include "godwit/fabric/ucx_options.h"
#include "ucx/handles.h"
#include "ucx/ops.h"
#include "ucx/ucx_connection.h"
#include "ucx/wire.h"

namespace godwit::fabric::ucx {

class UcxTransport final : public Transport, private PollHandler {
 public:
  static Result<std::unique_ptr<UcxTransport>> create(TransportContext& context, UcxOptions options,
                                                      Handshake::Offer offer = {});
  /// Closes all connections without telling of it, and waits up to a second for UCX to let go of
  /// the frames it refers to.
  ~UcxTransport() override;

  TransportKind kind() const noexcept override { return TransportKind::ucx; }
  Result<void> listen(EngineAddress& address) override;
  bool can_reach(const EngineAddress& peer) const override;
  Result<Connection*> connect(const EngineAddress& peer, std::uint32_t dc) override;
  unsigned progress() override;
  bool arm() override;
  void disarm() override { wake_by_ = std::chrono::steady_clock::time_point::max(); }
  std::chrono::steady_clock::time_point next_deadline() const override;

  /// Operations that UCX has not finished, those of closed connections among them.
  std::size_t unfinished() const noexcept { return sends_.busy() + receives_.busy(); }

  /// UCX's endpoints, those of closed connections among them.
  std::size_t endpoints() const noexcept { return by_endpoint_.size() + parting_.size(); }

  // For the connections.
  TransportContext& context() noexcept { return context_; }
  const UcxOptions& options() const noexcept { return options_; }
  ucp_worker_h worker() const noexcept { return worker_->get(); }
  OpPool<SendOp>& sends() noexcept { return sends_; }
  OpPool<ReceiveOp>& receives() noexcept { return receives_; }
  ucp_request_param_t& eager() noexcept { return eager_; }
  ucp_request_param_t& rendezvous() noexcept { return rendezvous_; }
  ucp_request_param_t& handshake() noexcept { return handshake_; }
  ucp_request_param_t& receive() noexcept { return receive_; }
  void has_endpoint(UcxConnection& connection);
  void established(UcxConnection& connection);
  void closing(UcxConnection& connection);
  void writable(UcxConnection& connection);
  static void on_endpoint_error(void* context, ucp_ep_h endpoint, ucs_status_t status);

 private:
  UcxTransport(TransportContext& context, UcxOptions options, Handshake::Offer offer,
               std::unique_ptr<Worker> worker);

  void on_ready(std::uint32_t) override {}  // the engine calls progress() after it slept
  UcxConnection& add(Handshake handshake, ConnectionKey key, std::optional<UcxSockaddr> target);
  ConnectionKey make_key();
  Handshake::Offer offer(ConnectionKey key) const;
  unsigned settle();
  void accept_incoming();
  unsigned close_lost();
  void check_deadlines();
  void part(ucp_ep_h endpoint);
  void close_parted();
  static void close_endpoint(ucp_ep_h endpoint);

  static void on_incoming(ucp_conn_request_h request, void* context);
  static void on_sent(void* request, ucs_status_t status, void* op);
  static void on_received(void* request, ucs_status_t status, std::size_t length, void* op);
  static ucs_status_t on_handshake(void* context, const void* header, std::size_t header_length,
                                   void* data, std::size_t length,
                                   const ucp_am_recv_param_t* param);
  static ucs_status_t on_goodbye(void* context, const void* header, std::size_t header_length,
                                 void* data, std::size_t length, const ucp_am_recv_param_t* param);
  static ucs_status_t on_frame(void* context, const void* header, std::size_t header_length,
                               void* data, std::size_t length, const ucp_am_recv_param_t* param);

  /// Peers that may be in their handshake at once; more are refused, so that strangers cannot make
  /// us hold memory without bound.
  static constexpr std::size_t kMaxHandshakes = 1024;
  /// Hangs of armed workers have been reported, so no sleep is longer than this.
  static constexpr std::chrono::seconds kLongestSleep{1};

  /// How long a peer has to read what was sent before we closed.
  static constexpr std::chrono::milliseconds kPartTime{200};

  /// An endpoint whose connection is closed, while the peer may still be reading.
  struct Parting {
    ucp_ep_h endpoint;
    std::chrono::steady_clock::time_point deadline;
  };

  struct Entry {
    ConnectionKey key = 0;  // of no connection while `connection` is null
    std::unique_ptr<UcxConnection> connection;
  };

  TransportContext& context_;
  UcxOptions options_;
  Handshake::Offer offer_;
  OpPool<SendOp> sends_;
  OpPool<ReceiveOp> receives_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Listener> listener_;
  bool watched_ = false;

  // Parameters of UCX's calls; each call sets its user_data.
  ucp_request_param_t eager_{};
  ucp_request_param_t rendezvous_{};
  ucp_request_param_t handshake_{};
  ucp_request_param_t receive_{};

  std::vector<Entry> entries_;  // by the low half of a key
  std::vector<std::uint32_t> free_entries_;
  std::unordered_map<ucp_ep_h, UcxConnection*> by_endpoint_;

  bool attention_ = false;  // settle() has something to do
  std::vector<ucp_conn_request_h> incoming_;
  std::vector<UcxConnection*> starting_;     // dialers without an endpoint yet
  std::vector<UcxConnection*> handshaking_;  // those with a deadline, both sides
  std::vector<UcxConnection*> writable_;     // on_writable is due
  std::vector<UcxConnection*> closing_;      // on_closed is due
  std::vector<Parting> parting_;
  std::chrono::steady_clock::time_point wake_by_ = std::chrono::steady_clock::time_point::max();
};

}  // namespace godwit::fabric::ucx
