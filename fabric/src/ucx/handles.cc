#ifdef GODWIT_HAVE_UCX

#include "ucx/handles.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

#include "ucx/config.h"
#include "ucx/wire.h"

namespace godwit::fabric::ucx {

Error ucx_error(Errc otherwise, std::string_view what, ucs_status_t status) {
  Errc code = otherwise;
  if (status == UCS_ERR_NO_MEMORY) code = Errc::no_memory;
  if (status == UCS_ERR_UNSUPPORTED) code = Errc::not_supported;
  return Error{code, std::string(what) + ": " + ucs_status_string(status), {}};
}

Result<UcxSockaddr> UcxSockaddr::parse(const SocketAddress& address) {
  UcxSockaddr result;
  static_assert(sizeof(sockaddr_in6) <= sizeof result.storage_);
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET, address.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    std::memcpy(result.storage_, &v4, sizeof v4);
    result.size_ = sizeof v4;
  } else if (inet_pton(AF_INET6, address.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    std::memcpy(result.storage_, &v6, sizeof v6);
    result.size_ = sizeof v6;
  } else {
    return fail(Errc::invalid_argument, "not a numeric address: " + address.host);
  }
  return result;
}

ucs_sock_addr_t UcxSockaddr::view() const noexcept {
  return {reinterpret_cast<const sockaddr*>(storage_), size_};
}

Result<std::unique_ptr<Worker>> Worker::create(const UcxOptions& options) {
  release_signals();
  const Choice choice = choose(options);
  const std::string& tls = choice.tls;
  auto config = make_config(choice);
  if (!config) return tl::make_unexpected(config.error());

  std::unique_ptr<Worker> result(new Worker);
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.mt_workers_shared = 0;
  ucs_status_t status = ucp_init(&params, *config, &result->context_);
  ucp_config_release(*config);
  if (status != UCS_OK) {
    return tl::make_unexpected(ucx_error(
        Errc::invalid_argument, "UCX cannot start with transports \"" + tls + "\"", status));
  }

  ucp_worker_params_t worker{};
  worker.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker.thread_mode = UCS_THREAD_MODE_SINGLE;
  status = ucp_worker_create(result->context_, &worker, &result->worker_);
  if (status != UCS_OK)
    return tl::make_unexpected(
        ucx_error(Errc::system,
                  "UCX cannot make a worker with transports \"" + tls +
                      "\" (over RDMA it locks some 20 MB of memory: `ulimit -l` must allow it)",
                  status));
  status = ucp_worker_get_efd(result->worker_, &result->event_fd_);
  if (status != UCS_OK)
    return tl::make_unexpected(
        ucx_error(Errc::not_supported, "UCX cannot sleep with transports \"" + tls + "\"", status));

  // The limit depends on the transports in use, so it must be asked of the worker.
  ucp_worker_attr_t attributes{};
  attributes.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
  status = ucp_worker_query(result->worker_, &attributes);
  if (status != UCS_OK || attributes.max_am_header < sizeof(WireHeader)) {
    return fail(Errc::not_supported, "UCX transports \"" + tls + "\" carry headers of " +
                                         std::to_string(attributes.max_am_header) +
                                         " bytes; frames need " +
                                         std::to_string(sizeof(WireHeader)));
  }
  return result;
}

Worker::~Worker() {
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
  if (context_ != nullptr) ucp_cleanup(context_);
}

Result<void> Worker::set_handler(unsigned id, ucp_am_recv_callback_t callback, void* context) {
  ucp_am_handler_param_t params{};
  params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                      UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  params.id = id;
  params.flags = UCP_AM_FLAG_WHOLE_MSG;
  params.cb = callback;
  params.arg = context;
  const ucs_status_t status = ucp_worker_set_am_recv_handler(worker_, &params);
  if (status == UCS_OK) return {};
  return tl::make_unexpected(
      ucx_error(Errc::system, "UCX cannot register a message handler", status));
}

Result<std::unique_ptr<Listener>> Listener::create(Worker& worker, const std::string& host,
                                                   ucp_listener_conn_handler_t handler) {
  auto address = UcxSockaddr::parse({host, 0});
  if (!address) return tl::make_unexpected(address.error());
  std::unique_ptr<Listener> result(new Listener);
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr = address->view();
  params.conn_handler = handler;
  ucs_status_t status = ucp_listener_create(worker.get(), &params, &result->listener_);
  if (status != UCS_OK)
    return tl::make_unexpected(ucx_error(Errc::system, "UCX cannot listen at " + host, status));

  ucp_listener_attr_t attributes{};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  status = ucp_listener_query(result->listener_, &attributes);
  if (status != UCS_OK)
    return tl::make_unexpected(ucx_error(Errc::system, "UCX cannot tell its port", status));
  const auto& bound = attributes.sockaddr;
  result->port_ =
      ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                        : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  return result;
}

Listener::~Listener() {
  if (listener_ != nullptr) ucp_listener_destroy(listener_);
}

}  // namespace godwit::fabric::ucx

#endif
