#ifdef GODWIT_HAVE_UCX

#include "ucx/ucx_transport.h"

#include <sodium.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "godwit/fabric/address.h"
#include "ucx/ucx_transport_impl.h"

namespace godwit::fabric {

bool ucx_available() noexcept {
  return true;
}

Result<std::unique_ptr<Transport>> make_ucx_transport(TransportContext& context, UcxOptions options,
                                                      Handshake::Offer offer) {
  auto transport = ucx::UcxTransport::create(context, std::move(options), std::move(offer));
  if (!transport) return tl::make_unexpected(transport.error());
  return std::unique_ptr<Transport>(std::move(*transport));
}

namespace ucx {

namespace {
using Clock = std::chrono::steady_clock;

template <typename T>
void erase_one(std::vector<T>& from, const T& what) {
  const auto at = std::find(from.begin(), from.end(), what);
  if (at == from.end()) return;
  *at = from.back();
  from.pop_back();
}
}  // namespace

Result<std::unique_ptr<UcxTransport>> UcxTransport::create(TransportContext& context,
                                                           UcxOptions options,
                                                           Handshake::Offer offer) {
  if (options.rendezvous_threshold <= kSmallPayload)
    return fail(Errc::invalid_argument,
                "UcxOptions::rendezvous_threshold must be above " + std::to_string(kSmallPayload));
  if (options.host.empty()) options.host = context.listen_host;
  auto worker = Worker::create(options);
  if (!worker) return tl::make_unexpected(worker.error());
  std::unique_ptr<UcxTransport> transport(
      new UcxTransport(context, std::move(options), std::move(offer), std::move(*worker)));
  if (auto done = transport->worker_->set_handler(kHandshakeAm, &on_handshake, transport.get());
      !done)
    return tl::make_unexpected(done.error());
  if (auto done = transport->worker_->set_handler(kGoodbyeAm, &on_goodbye, transport.get()); !done)
    return tl::make_unexpected(done.error());
  if (auto done = transport->worker_->set_handler(kFrameAm, &on_frame, transport.get()); !done)
    return tl::make_unexpected(done.error());
  // Edge-triggered: UCX's descriptor stays readable until UCX is progressed, as by the timer of its
  // keepalives, and whoever sleeps has progressed until there was nothing left (arm()).
  if (auto done = context.poller.add(transport->worker_->event_fd(), EPOLLIN | EPOLLET, *transport);
      !done)
    return tl::make_unexpected(done.error());
  transport->watched_ = true;
  return transport;
}

UcxTransport::UcxTransport(TransportContext& context, UcxOptions options, Handshake::Offer offer,
                           std::unique_ptr<Worker> worker)
    : context_(context),
      options_(std::move(options)),
      offer_(std::move(offer)),
      worker_(std::move(worker)) {
  offer_.max_payload = std::min(offer_.max_payload, context_.max_payload);
  eager_.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  eager_.cb.send = &UcxTransport::on_sent;
  rendezvous_ = eager_;
  handshake_ = eager_;
  eager_.flags = UCP_AM_SEND_FLAG_EAGER;
  rendezvous_.flags = UCP_AM_SEND_FLAG_RNDV;
  handshake_.flags = UCP_AM_SEND_FLAG_EAGER | UCP_AM_SEND_FLAG_REPLY;
  receive_.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  receive_.cb.recv_am = &UcxTransport::on_received;
}

UcxTransport::~UcxTransport() {
  if (watched_) context_.poller.remove(worker_->event_fd(), *this);
  for (const ucp_conn_request_h request : incoming_) ucp_listener_reject(listener_->get(), request);
  incoming_.clear();
  for (Entry& entry : entries_) {
    if (entry.connection == nullptr) continue;
    if (const ucp_ep_h endpoint = entry.connection->take_endpoint(); endpoint != nullptr)
      close_endpoint(endpoint);
    entry.connection = nullptr;
  }
  by_endpoint_.clear();
  for (const Parting& parting : parting_) close_endpoint(parting.endpoint);
  parting_.clear();
  const auto give_up = Clock::now() + std::chrono::seconds(1);
  while (unfinished() != 0 && Clock::now() < give_up) ucp_worker_progress(worker_->get());
  listener_ = nullptr;
  worker_ = nullptr;
  // Nothing of UCX is left that could refer to the memory of these.
  sends_.for_each_busy([this](SendOp& op) { sends_.finish(op); });
  receives_.for_each_busy([this](ReceiveOp& op) { receives_.finish(op); });
}

Result<void> UcxTransport::listen(EngineAddress& address) {
  if (listener_ != nullptr)
    return fail(Errc::invalid_argument, "the ucx transport listens already");
  auto listener = Listener::create(*worker_, options_.host, {&on_incoming, this});
  if (!listener) return tl::make_unexpected(listener.error());
  listener_ = std::move(*listener);
  address.ucx.push_back({options_.host, listener_->port()});
  return {};
}

bool UcxTransport::can_reach(const EngineAddress& peer) const {
  return !peer.ucx.empty();
}

Result<Connection*> UcxTransport::connect(const EngineAddress& peer, std::uint32_t dc) {
  if (peer.ucx.empty()) return fail(Errc::unreachable, "the peer offers no ucx address");
  auto target = UcxSockaddr::parse(peer.ucx.front());
  if (!target) return tl::make_unexpected(target.error());
  const ConnectionKey key = make_key();
  Handshake handshake = Handshake::dial(context_.identity, dc, offer(key), peer.engine);
  if (handshake.state() == Handshake::State::failed) {  // as when we are no member ourselves
    free_entries_.push_back(static_cast<std::uint32_t>(key));
    return tl::make_unexpected(handshake.error());
  }
  UcxConnection& connection = add(std::move(handshake), key, *target);
  starting_.push_back(&connection);
  return &connection;
}

ConnectionKey UcxTransport::make_key() {
  if (free_entries_.empty()) {
    free_entries_.push_back(static_cast<std::uint32_t>(entries_.size()));
    entries_.emplace_back();
  }
  const std::uint32_t index = free_entries_.back();
  free_entries_.pop_back();
  return (ConnectionKey{randombytes_random()} << 32) | index;
}

Handshake::Offer UcxTransport::offer(ConnectionKey key) const {
  Handshake::Offer result = offer_;
  result.transport_data = encode_key(key);
  return result;
}

UcxConnection& UcxTransport::add(Handshake handshake, ConnectionKey key,
                                 std::optional<UcxSockaddr> target) {
  Entry& entry = entries_[static_cast<std::uint32_t>(key)];
  entry.key = key;
  entry.connection = std::make_unique<UcxConnection>(*this, key, std::move(handshake), target,
                                                     Clock::now() + context_.handshake_timeout);
  handshaking_.push_back(entry.connection.get());
  attention_ = true;
  return *entry.connection;
}

// --- Progress -----------------------------------------------------------------------------------

unsigned UcxTransport::progress() {
  const unsigned events = ucp_worker_progress(worker_->get());
  if (!attention_) [[likely]]
    return events;
  return events + settle();
}

// What must not be done inside UCX's callbacks. Handlers that are called here may ask for more of
// it, so each list is taken before it is worked through.
unsigned UcxTransport::settle() {
  unsigned events = 0;
  for (UcxConnection* connection : std::exchange(starting_, {})) {
    if (!connection->closing()) connection->begin(nullptr);
    ++events;
  }
  events += static_cast<unsigned>(incoming_.size());
  accept_incoming();
  check_deadlines();
  for (UcxConnection* connection : std::exchange(writable_, {})) {
    if (connection == nullptr || connection->closing()) continue;
    context_.events.on_writable(*connection);
    ++events;
  }
  events += close_lost();
  close_parted();
  attention_ = !(starting_.empty() && incoming_.empty() && handshaking_.empty() &&
                 writable_.empty() && closing_.empty() && parting_.empty());
  return events;
}

void UcxTransport::accept_incoming() {
  for (const ucp_conn_request_h request : std::exchange(incoming_, {})) {
    if (handshaking_.size() >= kMaxHandshakes) {
      ucp_listener_reject(listener_->get(), request);
    } else {
      const ConnectionKey key = make_key();
      add(Handshake::accept(context_.identity, offer(key)), key, std::nullopt).begin(request);
    }
  }
}

void UcxTransport::check_deadlines() {
  if (handshaking_.empty()) return;
  const auto now = Clock::now();
  for (std::size_t i = handshaking_.size(); i-- != 0;) {
    if (handshaking_[i]->deadline() <= now && !handshaking_[i]->closing())
      handshaking_[i]->on_deadline();
  }
}

unsigned UcxTransport::close_lost() {
  const auto lost = std::exchange(closing_, {});
  for (UcxConnection* connection : lost) {
    if (const ucp_ep_h endpoint = connection->take_endpoint(); endpoint != nullptr) {
      by_endpoint_.erase(endpoint);
      if (connection->owes_goodbye()) {
        part(endpoint);
      } else {
        close_endpoint(endpoint);
      }
    }
    erase_one(handshaking_, connection);
    erase_one(starting_, connection);
    std::replace(writable_.begin(), writable_.end(), connection,
                 static_cast<UcxConnection*>(nullptr));
    context_.events.on_closed(*connection, connection->reason());
    const auto index = static_cast<std::uint32_t>(connection->key());
    entries_[index].connection = nullptr;
    free_entries_.push_back(index);
  }
  return static_cast<unsigned>(lost.size());
}

void UcxTransport::part(ucp_ep_h endpoint) {
  SendOp* op = sends_.peek();
  if (op == nullptr) return close_endpoint(endpoint);
  op->connection = nullptr;
  handshake_.user_data = op;
  const ucs_status_ptr_t result =
      ucp_am_send_nbx(endpoint, kGoodbyeAm, nullptr, 0, nullptr, 0, &handshake_);
  if (UCS_PTR_IS_ERR(result)) return close_endpoint(endpoint);
  if (result != nullptr) sends_.take(*op);
  parting_.push_back({endpoint, Clock::now() + kPartTime});
}

void UcxTransport::close_parted() {
  if (parting_.empty()) return;
  const auto now = Clock::now();
  std::erase_if(parting_, [now](const Parting& parting) {
    if (parting.deadline > now) return false;
    close_endpoint(parting.endpoint);
    return true;
  });
}

// UCX refuses a second close of an endpoint, so whoever calls this forgets it.
void UcxTransport::close_endpoint(ucp_ep_h endpoint) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  const ucs_status_ptr_t result = ucp_ep_close_nbx(endpoint, &param);
  if (UCS_PTR_IS_PTR(result)) ucp_request_free(result);  // it ends by itself
}

bool UcxTransport::arm() {
  if (progress() != 0) return false;
  // Deadlines do not keep us awake: next_deadline() ends the sleep.
  if (!starting_.empty() || !incoming_.empty() || !writable_.empty() || !closing_.empty())
    return false;
  if (ucp_worker_arm(worker_->get()) != UCS_OK) return false;  // busy: something came meanwhile
  wake_by_ = by_endpoint_.empty() ? Clock::time_point::max() : Clock::now() + kLongestSleep;
  return true;
}

Clock::time_point UcxTransport::next_deadline() const {
  Clock::time_point next = wake_by_;
  for (const UcxConnection* connection : handshaking_)
    next = std::min(next, connection->deadline());
  for (const Parting& parting : parting_) next = std::min(next, parting.deadline);
  return next;
}

// --- For the connections ------------------------------------------------------------------------

void UcxTransport::has_endpoint(UcxConnection& connection) {
  by_endpoint_[connection.endpoint()] = &connection;
}

void UcxTransport::established(UcxConnection& connection) {
  erase_one(handshaking_, &connection);
}

void UcxTransport::closing(UcxConnection& connection) {
  closing_.push_back(&connection);
  attention_ = true;
}

void UcxTransport::writable(UcxConnection& connection) {
  writable_.push_back(&connection);
  attention_ = true;
}

// --- UCX's callbacks ----------------------------------------------------------------------------

void UcxTransport::on_incoming(ucp_conn_request_h request, void* context) {
  auto& self = *static_cast<UcxTransport*>(context);
  self.incoming_.push_back(request);
  self.attention_ = true;
}

void UcxTransport::on_endpoint_error(void* context, ucp_ep_h endpoint, ucs_status_t status) {
  auto& self = *static_cast<UcxTransport*>(context);
  const auto found = self.by_endpoint_.find(endpoint);
  if (found != self.by_endpoint_.end()) return found->second->on_endpoint_error(status);
  for (Parting& parting : self.parting_) {
    if (parting.endpoint == endpoint) parting.deadline = Clock::time_point::min();
  }
}

void UcxTransport::on_sent(void* request, ucs_status_t status, void* context) {
  auto& op = *static_cast<SendOp*>(context);
  ucp_request_free(request);
  if (op.connection != nullptr) op.connection->on_sent(op, status);
  op.pool->finish(op);
}

void UcxTransport::on_received(void* request, ucs_status_t status, std::size_t, void* context) {
  auto& op = *static_cast<ReceiveOp*>(context);
  ucp_request_free(request);
  if (op.connection != nullptr) op.connection->on_received(op, status);
  op.pool->finish(op);
}

ucs_status_t UcxTransport::on_handshake(void* context, const void*, std::size_t, void* data,
                                        std::size_t length, const ucp_am_recv_param_t* param) {
  auto& self = *static_cast<UcxTransport*>(context);
  // A message of another shape than ours comes from no engine: UCX drops what is not taken.
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0 ||
      (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0)
    return UCS_OK;
  const auto found = self.by_endpoint_.find(param->reply_ep);
  if (found != self.by_endpoint_.end())
    found->second->on_handshake({static_cast<const std::byte*>(data), length});
  return UCS_OK;
}

ucs_status_t UcxTransport::on_goodbye(void* context, const void*, std::size_t, void*, std::size_t,
                                      const ucp_am_recv_param_t* param) {
  auto& self = *static_cast<UcxTransport*>(context);
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) return UCS_OK;
  const auto found = self.by_endpoint_.find(param->reply_ep);
  if (found != self.by_endpoint_.end()) found->second->on_goodbye();
  return UCS_OK;
}

ucs_status_t UcxTransport::on_frame(void* context, const void* header, std::size_t header_length,
                                    void* data, std::size_t length,
                                    const ucp_am_recv_param_t* param) {
  auto& self = *static_cast<UcxTransport*>(context);
  const auto wire = decode_header({static_cast<const std::byte*>(header), header_length});
  if (!wire) [[unlikely]]
    return UCS_OK;
  const auto index = static_cast<std::uint32_t>(wire->key);
  if (index >= self.entries_.size()) [[unlikely]]
    return UCS_OK;
  const Entry& entry = self.entries_[index];
  // A key of the past: the connection is closed, and the frame comes late.
  if (entry.key != wire->key || entry.connection == nullptr) [[unlikely]]
    return UCS_OK;
  if (!entry.connection->closing()) [[likely]]
    entry.connection->on_message(*wire, data, length, param->recv_attr);
  return UCS_OK;
}

}  // namespace ucx
}  // namespace godwit::fabric

#endif
