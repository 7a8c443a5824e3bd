// Owners of UCX's handles: context and worker, listener; and UCX's statuses as our errors.
//
// One of each per transport; engine's thread only. (UCX itself runs a thread of its own for
// connection events; it never calls us from there.)
#pragma once

#include <ucp/api/ucp.h>

#include <cstdint>
#include <memory>
#include <string>

#include "godwit/error.h"
#include "godwit/fabric/address.h"
#include "godwit/fabric/ucx_options.h"

namespace godwit::fabric::ucx {

/// "connection_lost: what: UCX's own words". `otherwise` is the code of statuses that say nothing
/// more exact.
Error ucx_error(Errc otherwise, std::string_view what, ucs_status_t status);

/// A sockaddr of either family, as UCX takes it.
class UcxSockaddr {
 public:
  static Result<UcxSockaddr> parse(const SocketAddress& address);
  ucs_sock_addr_t view() const noexcept;

 private:
  alignas(8) unsigned char storage_[32]{};
  std::uint32_t size_ = 0;
};

/// A ucp_context and its one ucp_worker.
class Worker {
 public:
  /// `options.host` must be set: it chooses what the options leave open.
  static Result<std::unique_ptr<Worker>> create(const UcxOptions& options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  ucp_worker_h get() const noexcept { return worker_; }
  int event_fd() const noexcept { return event_fd_; }

  /// Calls `callback` with `context` for each active message of that id.
  Result<void> set_handler(unsigned id, ucp_am_recv_callback_t callback, void* context);

 private:
  Worker() = default;

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;
};

class Listener {
 public:
  /// Listens at `host` and a port that the kernel chooses.
  static Result<std::unique_ptr<Listener>> create(Worker& worker, const std::string& host,
                                                  ucp_listener_conn_handler_t handler);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  ucp_listener_h get() const noexcept { return listener_; }
  std::uint16_t port() const noexcept { return port_; }

 private:
  Listener() = default;

  ucp_listener_h listener_ = nullptr;
  std::uint16_t port_ = 0;
};

}  // namespace godwit::fabric::ucx
