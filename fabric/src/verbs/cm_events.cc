// VerbsTransport: what the connection manager tells.
#ifdef GODWIT_HAVE_VERBS

#include <cerrno>
#include <string>
#include <utility>

#include "verbs/verbs_transport_impl.h"
#include "verbs/wire.h"

namespace godwit::fabric::verbs {

namespace {

Error dialing_error(rdma_cm_event_type type, int status) {
  std::string what = "the RDMA connection failed";
  if (type == RDMA_CM_EVENT_ADDR_ERROR) what = "the peer's address cannot be resolved";
  if (type == RDMA_CM_EVENT_ROUTE_ERROR) what = "there is no RDMA route to the peer";
  if (type == RDMA_CM_EVENT_UNREACHABLE) what = "the peer does not answer";
  if (type == RDMA_CM_EVENT_REJECTED) return {Errc::unreachable, "nobody listens there", {}};
  return verbs_error(Errc::unreachable, what, status < 0 ? -status : EIO);
}

}  // namespace

Result<Handle<rdma_cm_id>> VerbsTransport::make_id() {
  rdma_cm_id* id = nullptr;
  if (rdma_create_id(channel_.get(), &id, nullptr, RDMA_PS_TCP) != 0)
    return tl::make_unexpected(verbs_error(Errc::system, "cannot make a connection's id", errno));
  return Handle<rdma_cm_id>(id);
}

void VerbsTransport::on_cm_events() {
  rdma_cm_event* event = nullptr;
  while (rdma_get_cm_event(channel_.get(), &event) == 0) {
    const rdma_cm_event_type type = event->event;
    const int status = event->status;
    rdma_cm_id* id = event->id;
    // The private data ends with the acknowledgement, which must precede the id's destruction.
    std::string data;
    if (event->param.conn.private_data != nullptr &&
        (type == RDMA_CM_EVENT_CONNECT_REQUEST || type == RDMA_CM_EVENT_CONNECT_RESPONSE))
      data.assign(static_cast<const char*>(event->param.conn.private_data),
                  event->param.conn.private_data_len);
    rdma_ack_cm_event(event);
    on_cm_event(type, status, id, data);
  }
}

void VerbsTransport::on_cm_event(rdma_cm_event_type type, int status, rdma_cm_id* id,
                                 std::string_view data) {
  if (type == RDMA_CM_EVENT_CONNECT_REQUEST) return on_request(Handle<rdma_cm_id>(id), data);
  if (type == RDMA_CM_EVENT_DEVICE_REMOVAL) return lose_device("it was removed", true);
  Link* link = links_.find(static_cast<LinkId>(reinterpret_cast<std::uintptr_t>(id->context)));
  if (link == nullptr) return;  // the listener
  VerbsConnection* connection = link->owner;
  if (connection != nullptr && connection->closing()) return;
  const auto timeout =
      std::chrono::duration_cast<std::chrono::milliseconds>(context_.handshake_timeout);
  switch (type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      if (connection != nullptr) connection->on_resolved(static_cast<int>(timeout.count()));
      return;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
      if (connection != nullptr) connection->on_routed();
      return;
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
      if (connection != nullptr) connection->on_connected(data);
      return;
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_REJECTED:
      return on_peer_gone(*link, dialing_error(type, status));
    case RDMA_CM_EVENT_DISCONNECTED:
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
      return on_peer_gone(*link, {Errc::connection_lost, "the peer has disconnected", {}});
    default:  // ESTABLISHED says nothing that the peer's first message does not
      return;
  }
}

void VerbsTransport::on_request(Handle<rdma_cm_id> id, std::string_view introduction) {
  const auto refuse = [&id] { (void)rdma_reject(id.get(), nullptr, 0); };
  if (device_ == nullptr || device_lost_ || !is_ours(id.get())) return refuse();
  if (handshaking_.size() >= kMaxHandshakes) return refuse();
  auto link = make_link(std::move(id));
  if (!link) return;  // dropping the id refuses
  Handshake handshake = Handshake::accept(context_.identity, offer((*link)->window));
  add(std::move(handshake), std::move(*link)).on_requested(introduction);
}

}  // namespace godwit::fabric::verbs

#endif
