#ifdef GODWIT_HAVE_VERBS

#include <arpa/inet.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "godwit/fabric/rdma_hosts.h"
#include "verbs/verbs_transport.h"
#include "verbs/verbs_transport_impl.h"
#include "verbs/wire.h"

namespace godwit::fabric {

bool verbs_available() noexcept {
  return true;
}

Result<std::unique_ptr<Transport>> make_verbs_transport(TransportContext& context,
                                                        VerbsOptions options,
                                                        Handshake::Offer offer) {
  auto transport = verbs::VerbsTransport::create(context, std::move(options), std::move(offer));
  if (!transport) return tl::make_unexpected(transport.error());
  return std::unique_ptr<Transport>(std::move(*transport));
}

namespace verbs {

namespace {

template <typename T>
void erase_one(std::vector<T*>& from, const T* what) {
  const auto at = std::find(from.begin(), from.end(), what);
  if (at == from.end()) return;
  *at = from.back();
  from.pop_back();
}

Error completion_error(ibv_wc_status status) {
  if (status == IBV_WC_RETRY_EXC_ERR || status == IBV_WC_RESP_TIMEOUT_ERR)
    return {Errc::connection_lost, "the peer does not answer any more", {}};
  if (status == IBV_WC_REM_ACCESS_ERR)
    return {Errc::connection_lost, "the peer's memory is not open to us, or not any more", {}};
  if (status == IBV_WC_WR_FLUSH_ERR)
    return {Errc::connection_lost, "the queue pair has failed", {}};
  return {Errc::connection_lost,
          std::string("the device could not send: ") + ibv_wc_status_str(status),
          {}};
}

}  // namespace

Result<std::unique_ptr<VerbsTransport>> VerbsTransport::create(TransportContext& context,
                                                               VerbsOptions options,
                                                               Handshake::Offer offer) {
  if (options.rendezvous_threshold <= kSmallPayload || options.one_sided_threshold == 0 ||
      options.send_depth < 32 || options.window < Credits::kSmallestWindow ||
      options.window > Control::kMax || options.ack_timeout == 0 || options.ack_timeout > 31 ||
      options.retries > 7)
    return fail(Errc::invalid_argument, "VerbsOptions are out of range (verbs_options.h)");
  if (rdma_hosts().empty())
    return fail(Errc::not_supported,
                "this machine has no RDMA device with an address: see docs/verbs.md, or for "
                "soft-RoCE `modprobe rdma_rxe` and `rdma link add rxe0 type rxe netdev DEVICE`");
  std::unique_ptr<VerbsTransport> transport(
      new VerbsTransport(context, std::move(options), std::move(offer)));
  transport->channel_.reset(rdma_create_event_channel());
  if (transport->channel_ == nullptr)
    return tl::make_unexpected(verbs_error(
        Errc::not_supported, "no RDMA connection manager (is the module rdma_ucm loaded?)", errno));
  const int fd = transport->channel_->fd;
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return fail_errno("cannot make a descriptor non-blocking");
  if (auto done = context.poller.add(fd, EPOLLIN, transport->cm_watch_); !done)
    return tl::make_unexpected(done.error());
  return transport;
}

VerbsTransport::VerbsTransport(TransportContext& context, VerbsOptions options,
                               Handshake::Offer offer)
    : context_(context),
      options_(std::move(options)),
      offer_(std::move(offer)),
      cm_watch_(*this, &VerbsTransport::on_cm_events),
      completion_watch_(*this, &VerbsTransport::on_completions),
      device_watch_(*this, &VerbsTransport::on_device_events) {
  offer_.max_payload = std::min(offer_.max_payload, context_.max_payload);
}

VerbsTransport::~VerbsTransport() {
  connections_.clear();
  parting_.clear();
  close_device();
  if (channel_ != nullptr) context_.poller.remove(channel_->fd, cm_watch_);
}

Result<void> VerbsTransport::listen(EngineAddress& address) {
  if (listener_ != nullptr)
    return fail(Errc::invalid_argument, "the verbs transport listens already");
  if (auto done = open_device(0); !done) return done;
  address.verbs.push_back({host(), port_});
  return {};
}

bool VerbsTransport::can_reach(const EngineAddress& peer) const {
  return device_ != nullptr && !device_lost_ && !peer.verbs.empty();
}

Result<Connection*> VerbsTransport::connect(const EngineAddress& peer, std::uint32_t dc) {
  if (peer.verbs.empty()) return fail(Errc::unreachable, "the peer offers no verbs address");
  if (device_ == nullptr || device_lost_)
    return fail(Errc::unreachable, "this engine's RDMA device is gone");
  auto target = CmAddress::parse(peer.verbs.front());
  if (!target) return tl::make_unexpected(target.error());
  auto source = CmAddress::parse({host(), 0});
  if (!source) return tl::make_unexpected(source.error());
  auto id = make_id();
  if (!id) return tl::make_unexpected(id.error());
  auto link = make_link(std::move(*id));
  if (!link) return tl::make_unexpected(link.error());
  Handshake handshake = Handshake::dial(context_.identity, dc, offer((*link)->window), peer.engine);
  if (handshake.state() == Handshake::State::failed) {  // as when we are no member ourselves
    destroy(std::move(*link));
    return tl::make_unexpected(handshake.error());
  }
  const auto timeout =
      std::chrono::duration_cast<std::chrono::milliseconds>(context_.handshake_timeout);
  if (rdma_resolve_addr((*link)->cm(), source->get(), target->get(),
                        static_cast<int>(timeout.count())) != 0) {
    const int error = errno;
    destroy(std::move(*link));
    return tl::make_unexpected(verbs_error(Errc::unreachable, "cannot resolve the peer", error));
  }
  return &add(std::move(handshake), std::move(*link));
}

Result<std::unique_ptr<Link>> VerbsTransport::make_link(Handle<rdma_cm_id> id) {
  auto window = device_->take_window();
  if (!window) return tl::make_unexpected(window.error());
  auto link = std::make_unique<Link>(*device_, options_, std::move(id));
  link->window = *window;
  link->id = links_.add(*link);
  if (link->id == 0) return fail(Errc::no_memory, "this engine has too many connections");
  link->cm()->context = reinterpret_cast<void*>(std::uintptr_t{link->id});
  return link;
}

VerbsConnection& VerbsTransport::add(Handshake handshake, std::unique_ptr<Link> link) {
  Link& raw = *link;
  auto made = std::make_unique<VerbsConnection>(*this, std::move(handshake), std::move(link),
                                                Clock::now() + context_.handshake_timeout);
  VerbsConnection& connection = *made;
  connections_[&connection] = std::move(made);
  raw.owner = &connection;
  handshaking_.push_back(&connection);
  attention_ = true;
  return connection;
}

Handshake::Offer VerbsTransport::offer(std::uint32_t window) const {
  Handshake::Offer result = offer_;
  result.transport_data = encode_window(window);
  return result;
}

// --- completions --------------------------------------------------------------------------------

unsigned VerbsTransport::progress() {
  if (device_ == nullptr) [[unlikely]] {
    revive();
    return 0;
  }
  unsigned events = poll_receives();
  events += poll_sends();
  if (!attention_) [[likely]]
    return events;
  return events + settle();
}

unsigned VerbsTransport::poll_receives() {
  std::array<ibv_wc, 32> batch;
  const int count = device_->poll_receives(batch);
  if (count <= 0) [[likely]] {
    if (count < 0 && !device_lost_) lose_device("its completions cannot be read", false);
    return 0;
  }
  for (int i = 0; i < count; ++i) on_receive(batch[static_cast<std::size_t>(i)]);
  device_->post_recycled();
  if (device_->broken() && !device_lost_) lose_device("it takes no receive buffers", false);
  return static_cast<unsigned>(count);
}

void VerbsTransport::on_receive(const ibv_wc& completion) {
  const auto buffer = static_cast<std::uint32_t>(completion.wr_id);
  if (completion.status == IBV_WC_SUCCESS && (completion.wc_flags & IBV_WC_WITH_IMM) != 0)
      [[likely]] {
    Link* link = links_.find(ntohl(completion.imm_data));
    // The number of the queue pair shows that the peer names its own link.
    if (link != nullptr && link->owner != nullptr && link->pair()->qp_num == completion.qp_num)
        [[likely]] {
      const auto message =
          parse({device_->buffer(buffer), completion.byte_len}, context_.max_payload);
      if (!message) {
        link->owner->close({Errc::protocol_error, "a message cannot be read", {}});
      } else if (link->owner->on_message(*message, buffer)) {
        return;
      }
      return device_->recycle(buffer);
    }
  }
  device_->recycle(buffer);
  Link* link = link_of_pair(completion.qp_num);
  if (link == nullptr || link->owner == nullptr) return;
  if (completion.status != IBV_WC_SUCCESS) {
    link->owner->on_lost(completion_error(completion.status));
  } else {
    link->owner->close({Errc::protocol_error, "a message names no connection", {}});
  }
}

Link* VerbsTransport::link_of_pair(std::uint32_t number) {
  Link* found = nullptr;
  links_.for_each([&](Link& link) {
    if (link.pair() != nullptr && link.pair()->qp_num == number) found = &link;
  });
  return found;
}

unsigned VerbsTransport::poll_sends() {
  if (device_->unfinished == 0 && !device_->stale_completions) return 0;
  std::array<ibv_wc, 32> batch;
  const int count = device_->poll_sends(batch);
  if (count <= 0) [[likely]] {
    device_->stale_completions = false;
    return 0;
  }
  for (int i = 0; i < count; ++i) on_sent(batch[static_cast<std::size_t>(i)]);
  if (!starved_.empty()) feed_starved();
  return static_cast<unsigned>(count);
}

void VerbsTransport::on_sent(const ibv_wc& completion) {
  Link* link = links_.find(link_of(completion.wr_id));
  if (link == nullptr) return;  // it is gone
  if (completion.status != IBV_WC_SUCCESS) [[unlikely]]
    return on_peer_gone(*link, completion_error(completion.status));
  VerbsConnection* owner = link->owner;
  link->completed(sequence_of(completion.wr_id), [owner](Posted::Kind kind) {
    if (owner != nullptr) owner->on_access_done(kind);
  });
  if (owner != nullptr) return owner->pump();
  if (link->unfinished() == 0) attention_ = true;  // its last words have arrived
}

// What the peer had sent before it went comes first.
void VerbsTransport::on_peer_gone(Link& link, Error reason) {
  const LinkId id = link.id;
  if (!device_lost_) {
    while (poll_receives() != 0) {
    }
  }
  Link* still = links_.find(id);
  if (still == nullptr) return;
  if (still->owner != nullptr) return still->owner->on_lost(std::move(reason));
  still->deadline = Clock::time_point::min();
  attention_ = true;
}

void VerbsTransport::break_pairs() {
  links_.for_each([](Link& link) {
    if (link.pair() != nullptr) link.break_pair();
  });
}

// --- what is not done inside handlers -----------------------------------------------------------

unsigned VerbsTransport::settle() {
  unsigned events = 0;
  if (!due_.empty()) send_updates();
  check_deadlines();
  for (VerbsConnection* connection : std::exchange(writable_, {})) {
    if (connection == nullptr || connection->closing()) continue;
    context_.events.on_writable(*connection);
    ++events;
  }
  events += close_lost();
  close_parted();
  if (device_lost_ && links_.size() == 0) close_device();
  attention_ = !(handshaking_.empty() && writable_.empty() && closing_.empty() && due_.empty() &&
                 parting_.empty());
  return events;
}

void VerbsTransport::send_updates() {
  for (VerbsConnection* connection : std::exchange(due_, {})) {
    if (connection == nullptr) continue;
    connection->listed_as_due = false;
    connection->send_update();
  }
}

void VerbsTransport::feed_starved() {
  for (VerbsConnection* connection : std::exchange(starved_, {})) {
    if (connection == nullptr) continue;
    connection->listed_as_starved = false;
    if (!connection->closing()) connection->pump();
  }
}

void VerbsTransport::check_deadlines() {
  if (handshaking_.empty()) return;
  const auto now = Clock::now();
  for (std::size_t i = handshaking_.size(); i-- != 0;) {
    if (handshaking_[i]->deadline() <= now && !handshaking_[i]->closing())
      handshaking_[i]->on_deadline();
  }
}

unsigned VerbsTransport::close_lost() {
  const auto lost = std::exchange(closing_, {});
  for (VerbsConnection* connection : lost) {
    const auto forget = [connection](std::vector<VerbsConnection*>& list) {
      std::replace(list.begin(), list.end(), connection, static_cast<VerbsConnection*>(nullptr));
    };
    erase_one(handshaking_, connection);
    forget(writable_);
    forget(due_);
    forget(starved_);
    bool parts = false;
    connection->link().owner = nullptr;
    const LinkId id = connection->link().id;
    auto link = connection->take_link(parts);
    if (parts) {
      part(std::move(link));
    } else {
      links_.remove(id);
    }
    context_.events.on_closed(*connection, connection->reason());
    connections_.erase(connection);
  }
  return static_cast<unsigned>(lost.size());
}

void VerbsTransport::part(std::unique_ptr<Link> link) {
  link->deadline = Clock::now() + kPartTime;
  parting_.push_back(std::move(link));
}

void VerbsTransport::destroy(std::unique_ptr<Link> link) {
  links_.remove(link->id);
}

// A link whose last words have arrived asks the peer to disconnect, and goes when that has agreed.
void VerbsTransport::close_parted() {
  if (parting_.empty()) return;
  const auto now = Clock::now();
  for (std::size_t i = parting_.size(); i-- != 0;) {
    Link& link = *parting_[i];
    if (link.deadline > now && !device_lost_) {
      if (link.unfinished() != 0 || link.disconnecting) continue;
      link.disconnecting = true;
      if (rdma_disconnect(link.cm()) == 0) continue;
    }
    auto gone = std::move(parting_[i]);
    parting_[i] = std::move(parting_.back());
    parting_.pop_back();
    destroy(std::move(gone));
  }
}

bool VerbsTransport::arm() {
  if (progress() != 0) return false;
  if (device_ == nullptr) return true;  // next_deadline() ends the sleep
  if (!writable_.empty() || !closing_.empty() || !due_.empty()) return false;
  if (!device_->request_events()) {
    lose_device("it grants no events", false);
    return false;
  }
  // What came before the request rings no bell.
  return progress() == 0 && writable_.empty() && closing_.empty() && due_.empty();
}

VerbsTransport::Clock::time_point VerbsTransport::next_deadline() const {
  Clock::time_point next = device_ == nullptr ? revive_at_ : Clock::time_point::max();
  for (const VerbsConnection* connection : handshaking_)
    next = std::min(next, connection->deadline());
  for (const auto& link : parting_) next = std::min(next, link->deadline);
  return next;
}

// --- for the connections ------------------------------------------------------------------------

bool VerbsTransport::is_ours(const rdma_cm_id* id) const noexcept {
  return device_ != nullptr && id->verbs != nullptr &&
         id->verbs->device == device_->context()->device;
}

void VerbsTransport::established(VerbsConnection& connection) {
  erase_one(handshaking_, &connection);
}

void VerbsTransport::closing(VerbsConnection& connection) {
  closing_.push_back(&connection);
  attention_ = true;
}

void VerbsTransport::writable(VerbsConnection& connection) {
  writable_.push_back(&connection);
  attention_ = true;
}

void VerbsTransport::due(VerbsConnection& connection) {
  if (std::exchange(connection.listed_as_due, true)) return;
  due_.push_back(&connection);
  attention_ = true;
}

void VerbsTransport::starved(VerbsConnection& connection) {
  if (std::exchange(connection.listed_as_starved, true)) return;
  starved_.push_back(&connection);
}

}  // namespace verbs
}  // namespace godwit::fabric

#endif
