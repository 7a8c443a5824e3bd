#include "tcp/tcp_transport.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "godwit/fabric/address.h"

namespace godwit::fabric::tcp {

namespace {
constexpr int kBacklog = 256;
constexpr int kAcceptsPerTurn = 64;
constexpr std::chrono::milliseconds kListenerPause{50};
}  // namespace

TcpTransport::TcpTransport(TransportContext& context, TcpOptions options)
    : context_(context),
      options_(std::move(options)),
      // Not std::make_unique, which would touch all of it now.
      scratch_(new std::byte[FrameReader::kScratch]),
      staging_(new std::byte[kStaging]) {
  options_.offer.max_payload = std::min(options_.offer.max_payload, context_.max_payload);
}

TcpTransport::~TcpTransport() {
  if (listener_ && listener_resumes_ == Time::max()) {
    context_.poller.remove(listener_.get(), *this);
  }
}

// --- listening and dialing ----------------------------------------------------------------------

Result<void> TcpTransport::listen(EngineAddress& address) {
  auto name = SocketName::of({context_.listen_host, options_.port});
  if (!name) return tl::make_unexpected(name.error());
  const std::string where = context_.listen_host + " port " + std::to_string(options_.port);
  auto socket = Socket::create(name->storage.ss_family);
  if (!socket) return tl::make_unexpected(socket.error());
  const int reuse = 1;
  (void)setsockopt(socket->get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  if (bind(socket->get(), name->get(), name->size) != 0 || ::listen(socket->get(), kBacklog) != 0) {
    return fail_errno("cannot listen on " + where);
  }
  auto watching = context_.poller.add(socket->get(), EPOLLIN, *this);
  if (!watching) return watching;
  listener_ = std::move(*socket);
  address.tcp.push_back({context_.listen_host, listener_.port()});
  return {};
}

bool TcpTransport::can_reach(const EngineAddress& peer) const {
  return !peer.tcp.empty();
}

Result<Connection*> TcpTransport::connect(const EngineAddress& peer, std::uint32_t dc) {
  if (!can_reach(peer)) return fail(Errc::unreachable, "the peer has no TCP address");
  Handshake handshake = Handshake::dial(context_.identity, dc, options_.offer, peer.engine);
  if (handshake.state() == Handshake::State::failed) {
    return tl::make_unexpected(handshake.error());
  }
  return &add(std::make_unique<TcpConnection>(
      *this, std::move(handshake), peer.tcp,
      std::chrono::steady_clock::now() + context_.handshake_timeout));
}

TcpConnection& TcpTransport::add(std::unique_ptr<TcpConnection> connection) {
  connections_.push_back(std::move(connection));
  TcpConnection& added = *connections_.back();
  ++under_handshake_;
  if (!added.peer().dialed) ++unproved_;
  next_expiry_ = std::min(next_expiry_, added.deadline());
  added.begin();
  return added;
}

void TcpTransport::on_ready(std::uint32_t) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    Socket socket(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // The waiting connection would keep a level-triggered listener ready: no busy loop over it.
      if (errno != EAGAIN && errno != EWOULDBLOCK) pause_listener();
      return;
    }
    if (unproved_ >= kMaxUnproved) continue;  // closes it
    socket.tune(options_.send_buffer, options_.receive_buffer);
    add(std::make_unique<TcpConnection>(
        *this, Handshake::accept(context_.identity, options_.offer), std::move(socket),
        std::chrono::steady_clock::now() + context_.handshake_timeout));
  }
}

void TcpTransport::pause_listener() {
  context_.poller.remove(listener_.get(), *this);
  listener_resumes_ = std::chrono::steady_clock::now() + kListenerPause;
}

void TcpTransport::resume_listener() {
  const Time now = std::chrono::steady_clock::now();
  if (now < listener_resumes_) return;
  listener_resumes_ = Time::max();
  if (!context_.poller.add(listener_.get(), EPOLLIN, *this))
    listener_resumes_ = now + kListenerPause;
}

// --- moving -------------------------------------------------------------------------------------

unsigned TcpTransport::progress() {
  unsigned events = 0;
  if (!hot_.empty()) events += poll_hot();
  if (!dirty_.empty()) write_dirty(false);
  if (!refused_.empty()) events += tell_writable();
  if (under_handshake_ != 0 || !undelivered_.empty()) {
    const Time now = std::chrono::steady_clock::now();
    if (now >= next_expiry_) expire_handshakes(now);
    if (now >= next_check_) check_deliveries(now);
  }
  if (closed_ != 0) events += reap();
  if (listener_resumes_ != Time::max()) [[unlikely]]
    resume_listener();
  return events;
}

unsigned TcpTransport::poll_hot() {
  unsigned events = 0;
  // Handlers may close connections, which keeps them listed, and open ones, which are not hot yet.
  for (std::size_t i = 0; i < hot_.size();) {
    TcpConnection& connection = *hot_[i];
    if (connection.open()) {
      receiving_ = true;
      const unsigned got = connection.receive();
      receiving_ = false;
      events += got;
      connection.quiet_polls = got != 0 ? 0 : connection.quiet_polls + 1;
      if (connection.quiet_polls < kQuietPolls) {
        ++i;
        continue;
      }
    }
    connection.in_hot = false;
    hot_[i] = hot_.back();
    hot_.pop_back();
  }
  return events;
}

unsigned TcpTransport::receive_on(TcpConnection& connection) {
  receiving_ = true;
  const unsigned events = connection.receive();
  receiving_ = false;
  connection.quiet_polls = 0;
  if (connection.open() && !connection.in_hot) {
    connection.in_hot = true;
    hot_.push_back(&connection);
  }
  if (!dirty_.empty()) write_dirty(false);
  return events;
}

void TcpTransport::add_dirty(TcpConnection& connection) {
  if (connection.in_dirty) return;
  connection.in_dirty = true;
  dirty_.push_back(&connection);
}

void TcpTransport::add_refused(TcpConnection& connection) {
  if (connection.in_refused) return;
  connection.in_refused = true;
  refused_.push_back(&connection);
}

void TcpTransport::write_dirty(bool all) {
  const Time now = std::chrono::steady_clock::now();
  std::erase_if(dirty_, [&](TcpConnection* connection) {
    if (connection->open() && connection->has_queued() && (all || connection->pacer().due(now))) {
      connection->write(now);
    }
    if (connection->open() && connection->has_queued()) return false;
    connection->in_dirty = false;
    return true;
  });
}

unsigned TcpTransport::tell_writable() {
  unsigned events = 0;
  for (std::size_t i = 0; i < refused_.size();) {
    TcpConnection& connection = *refused_[i];
    if (connection.open() && !connection.writable_again()) {
      ++i;
      continue;
    }
    // Off the list first: a handler that is refused again puts it back, at the end.
    refused_[i] = refused_.back();
    refused_.pop_back();
    connection.in_refused = false;
    if (!connection.open()) continue;
    connection.clear_refused();
    ++events;
    context_.events.on_writable(connection);
  }
  return events;
}

void TcpTransport::add_undelivered(TcpConnection& connection, Time now) {
  if (connection.in_undelivered) return;
  if (undelivered_.empty()) next_check_ = now + kDeliveryCheck;
  connection.in_undelivered = true;
  undelivered_.push_back(&connection);
}

void TcpTransport::check_deliveries(Time now) {
  std::erase_if(undelivered_, [](TcpConnection* connection) {
    if (connection->open() && connection->check_delivery()) return false;
    connection->in_undelivered = false;
    return true;
  });
  next_check_ = undelivered_.empty() ? Time::max() : now + kDeliveryCheck;
}

void TcpTransport::expire_handshakes(Time now) {
  next_expiry_ = Time::max();
  for (const auto& connection : connections_) {
    if (!connection->under_handshake()) continue;
    if (connection->deadline() <= now) {
      connection->expire();
    } else {
      next_expiry_ = std::min(next_expiry_, connection->deadline());
    }
  }
}

unsigned TcpTransport::reap() {
  std::vector<std::unique_ptr<TcpConnection>> closed;
  std::erase_if(connections_, [&](std::unique_ptr<TcpConnection>& connection) {
    if (connection->open()) return false;
    closed.push_back(std::move(connection));
    return true;
  });
  closed_ = 0;
  const auto is_closed = [](TcpConnection* connection) { return !connection->open(); };
  std::erase_if(hot_, is_closed);
  std::erase_if(dirty_, is_closed);
  std::erase_if(refused_, is_closed);
  std::erase_if(undelivered_, is_closed);
  for (const auto& connection : closed) {
    context_.events.on_closed(*connection, connection->reason());
  }
  return static_cast<unsigned>(closed.size());
}

bool TcpTransport::arm() {
  if (!dirty_.empty()) write_dirty(true);
  if (closed_ != 0) return false;
  for (TcpConnection* connection : refused_) {
    if (connection->open() && connection->writable_again()) return false;
  }
  for (TcpConnection* connection : dirty_) connection->watch_for_room();
  return closed_ == 0;
}

TcpTransport::Time TcpTransport::next_deadline() const {
  Time next = std::min(listener_resumes_, next_check_);
  return under_handshake_ != 0 ? std::min(next, next_expiry_) : next;
}

}  // namespace godwit::fabric::tcp
