#include "shm/shm_transport.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "godwit/fabric/address.h"

namespace godwit::fabric::shm {

namespace {

constexpr int kBacklog = 512;

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail(Errc::too_large,
                "the path of a Unix socket is limited to 107 bytes, use a shorter "
                "runtime directory than that of " +
                    path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

class ShmTransport::Quarantine final : private PollHandler {
 public:
  Quarantine(ShmTransport& transport, SharedSocket socket, std::vector<std::uint64_t> lent)
      : transport_(transport), socket_(std::move(socket)), lent_(std::move(lent)) {
    if (!transport_.context_.poller.add(socket_->get(), EPOLLIN | EPOLLRDHUP, *this)) over_ = true;
  }
  ~Quarantine() {
    transport_.context_.poller.remove(socket_->get(), *this);
    for (const std::uint64_t offset : lent_) transport_.context_.arena.give_back(offset);
  }
  bool over() const noexcept { return over_; }

 private:
  void on_ready(std::uint32_t) override {
    std::array<char, Handshake::kMaxMessage> datagram;
    for (;;) {
      const ssize_t got = recv(socket_->get(), datagram.data(), datagram.size(), MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (got <= 0 || datagram[0] == kDoneMessage) {
        over_ = true;
        transport_.poke();
        return;
      }
    }
  }

  ShmTransport& transport_;
  SharedSocket socket_;
  std::vector<std::uint64_t> lent_;
  bool over_ = false;
};

Result<std::unique_ptr<ShmTransport>> ShmTransport::create(TransportContext& context,
                                                           Options options) {
  const std::uint32_t capacity = options.ring_capacity;
  if (capacity < kMinRing || capacity > kMaxRing || (capacity & (capacity - 1)) != 0) {
    return fail(Errc::invalid_argument,
                "a ring's capacity is a power of two from 16 KiB to 16 MiB");
  }
  Descriptor fd;
  auto page = Mapping::create("godwit-sleep", sizeof(EnginePage), fd);
  if (!page) return tl::make_unexpected(page.error());
  return std::unique_ptr<ShmTransport>(
      new ShmTransport(context, options, std::move(*page), std::move(fd)));
}

ShmTransport::ShmTransport(TransportContext& context, Options options, Mapping page,
                           Descriptor page_fd)
    : context_(context),
      options_(options),
      barriers_(options.barriers && register_for_barriers()),
      page_(std::move(page)),
      page_fd_(std::move(page_fd)) {}

ShmTransport::~ShmTransport() {
  for (auto& connection : connections_) {
    if (!connection->closing()) tell(connection->socket()->get(), kByeMessage);
  }
  quarantine_.clear();
  connections_.clear();
  if (listener_) {
    context_.poller.remove(listener_.get(), *this);
    ::unlink(socket_path_.c_str());
  }
}

Result<void> ShmTransport::listen(EngineAddress& address) {
  socket_path_ = context_.runtime_directory + "/" + context_.identity.engine.to_string() + ".shm";
  auto local = unix_address(socket_path_);
  if (!local) return tl::make_unexpected(local.error());
  Descriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno("cannot create a Unix socket");
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&*local), sizeof *local) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    return fail_errno("cannot listen on " + socket_path_);
  }
  auto watching = context_.poller.add(socket.get(), EPOLLIN, *this);
  if (!watching) return watching;
  listener_ = std::move(socket);
  address.host = this_host();
  address.shm_socket = socket_path_;
  return {};
}

bool ShmTransport::can_reach(const EngineAddress& peer) const {
  return !peer.shm_socket.empty() && peer.node == context_.identity.node &&
         peer.host == this_host();
}

Handshake::Offer ShmTransport::offer() const {
  Handshake::Offer offer;
  offer.max_payload = context_.max_payload;
  return offer;
}

Result<Connection*> ShmTransport::connect(const EngineAddress& peer, std::uint32_t dc) {
  auto remote = unix_address(peer.shm_socket);
  if (!remote) return tl::make_unexpected(remote.error());
  Descriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno("cannot create a Unix socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*remote), sizeof *remote) != 0) {
    auto error = fail_errno("cannot reach the engine at " + peer.shm_socket);
    error.value().code = Errc::unreachable;
    return error;
  }
  return add(std::move(socket), Handshake::dial(context_.identity, dc, offer()))
      .map([](ShmConnection* connection) -> Connection* { return connection; });
}

void ShmTransport::on_ready(std::uint32_t) {
  for (;;) {
    Descriptor socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return;  // none left, or out of descriptors: the peer's deadline will tell it
    // A peer that cannot even be watched is dropped by add(); it sees its socket close.
    (void)add(std::move(socket), Handshake::accept(context_.identity, offer()));
  }
}

Result<ShmConnection*> ShmTransport::add(Descriptor socket, Handshake handshake) {
  const auto deadline = std::chrono::steady_clock::now() + context_.handshake_timeout;
  connections_.push_back(
      std::make_unique<ShmConnection>(*this, std::move(socket), std::move(handshake), deadline));
  ShmConnection* connection = connections_.back().get();
  auto started = connection->start();
  if (!started) {
    connections_.pop_back();
    return tl::make_unexpected(started.error());
  }
  attention_ = true;
  return connection;
}

void ShmTransport::established(ShmConnection& connection) {
  fresh_.push_back(&connection);
  attention_ = true;
}

void ShmTransport::closing(ShmConnection& connection) {
  closing_.push_back(&connection);
  attention_ = true;
}

unsigned ShmTransport::progress() {
  unsigned events = 0;
  // Handlers may close connections (marked, removed below) but never add to active_ here.
  for (std::size_t i = 0; i < active_.size(); ++i) events += active_[i]->poll();
  if (attention_) [[unlikely]] {
    attention_ = false;
    for (ShmConnection* connection : std::exchange(fresh_, {})) {
      if (connection->closing()) continue;
      active_.push_back(connection);
      context_.events.on_established(*connection);
      ++events;
    }
    events += static_cast<unsigned>(closing_.size());
    reap();
  }
  return events;
}

void ShmTransport::reap() {
  const auto now = std::chrono::steady_clock::now();
  for (auto& connection : connections_) {
    if (!connection->closing() && connection->deadline() <= now) {
      connection->close(Error{Errc::deadline_exceeded, "the handshake took too long", {}});
    }
    // Those still in their handshake must be looked at again.
    if (!connection->established()) attention_ = true;
  }
  for (ShmConnection* connection : std::exchange(closing_, {})) {
    std::erase(active_, connection);
    std::erase(fresh_, connection);
    context_.events.on_closed(*connection, connection->reason());
    auto lent = connection->take_lent();
    SharedSocket socket = connection->socket();
    std::erase_if(connections_, [&](const auto& owned) { return owned.get() == connection; });
    if (!lent.empty()) {
      quarantine_.push_back(
          std::make_unique<Quarantine>(*this, std::move(socket), std::move(lent)));
    }
  }
  std::erase_if(quarantine_, [](const auto& entry) { return entry->over(); });
}

bool ShmTransport::arm() {
  if (!fresh_.empty() || !closing_.empty()) return false;
  page().sleep.fetch_add(1, std::memory_order_relaxed);
  if (barriers_) {
    barrier_everywhere();
  } else {
    full_fence();
  }
  for (ShmConnection* connection : active_) {
    if (connection->pending()) {
      disarm();
      return false;
    }
  }
  return true;
}

void ShmTransport::disarm() {
  if ((page().sleep.load(std::memory_order_relaxed) & 1) != 0) {
    page().sleep.fetch_add(1, std::memory_order_relaxed);
  }
}

std::chrono::steady_clock::time_point ShmTransport::next_deadline() const {
  auto next = std::chrono::steady_clock::time_point::max();
  for (const auto& connection : connections_) next = std::min(next, connection->deadline());
  return next;
}

}  // namespace godwit::fabric::shm
