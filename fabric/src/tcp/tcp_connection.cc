#include "tcp/tcp_connection.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "tcp/handshake_prefix.h"
#include "tcp/tcp_transport.h"

namespace godwit::fabric::tcp {

namespace {
// So that one busy peer leaves time for the others.
constexpr int kReadsPerTurn = 4;
constexpr std::size_t kVectors = 64;

std::string name_of(const SocketAddress& address) {
  return address.host + " port " + std::to_string(address.port);
}
}  // namespace

TcpConnection::TcpConnection(TcpTransport& transport, Handshake handshake,
                             std::vector<SocketAddress> candidates, Time deadline)
    : Connection(TransportKind::tcp),
      transport_(transport),
      state_(State::dialing),
      reader_(*this, transport.context().events, counters_),
      handshake_(std::move(handshake)),
      candidates_(std::move(candidates)),
      deadline_(deadline) {
  peer_.dialed = true;
}

TcpConnection::TcpConnection(TcpTransport& transport, Handshake handshake, Socket socket,
                             Time deadline)
    : Connection(TransportKind::tcp),
      transport_(transport),
      socket_(std::move(socket)),
      reader_(*this, transport.context().events, counters_),
      handshake_(std::move(handshake)),
      deadline_(deadline) {}

TcpConnection::~TcpConnection() {
  if (socket_ && watched_ != 0) transport_.context().poller.remove(socket_.get(), *this);
}

// --- dialing and handshake ----------------------------------------------------------------------

void TcpConnection::begin() {
  if (state_ == State::dialing) {
    dial_next();
  } else {
    watch(EPOLLIN);
  }
}

void TcpConnection::dial_next() {
  Error last{Errc::unreachable, "the peer has no TCP address", {}};
  while (candidate_ < candidates_.size()) {
    const SocketAddress& address = candidates_[candidate_++];
    auto name = SocketName::of(address);
    if (!name) {
      last = name.error();
      continue;
    }
    auto socket = Socket::create(name->storage.ss_family);
    if (!socket) return close(socket.error());
    socket->tune(transport_.options().send_buffer, transport_.options().receive_buffer);
    if (::connect(socket->get(), name->get(), name->size) == 0) {
      socket_ = std::move(*socket);
      return begin_handshake();
    }
    if (errno == EINPROGRESS) {
      socket_ = std::move(*socket);
      return watch(EPOLLOUT);
    }
    last = {
        Errc::unreachable, "cannot connect to " + name_of(address) + ": " + strerror(errno), {}};
  }
  close(std::move(last));
}

void TcpConnection::finish_dialing() {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error == 0) return begin_handshake();
  transport_.context().poller.remove(socket_.get(), *this);
  watched_ = 0;
  socket_.reset();
  if (candidate_ < candidates_.size()) return dial_next();
  close({Errc::unreachable,
         "cannot connect to " + name_of(candidates_.back()) + ": " + strerror(error),
         {}});
}

void TcpConnection::begin_handshake() {
  state_ = State::handshaking;
  candidates_ = {};
  watch(EPOLLIN);
  if (open()) advance_handshake();
}

void TcpConnection::advance_handshake() {
  for (const std::string& message : handshake_.take_output()) {
    const std::string framed = prefixed(message);
    const ssize_t sent = ::send(socket_.get(), framed.data(), framed.size(), MSG_NOSIGNAL);
    // The few hundred bytes of a handshake find an empty socket buffer; a peer that makes them not
    // fit is not worth waiting for.
    if (sent != static_cast<ssize_t>(framed.size())) {
      return close({Errc::connection_lost, "the connection broke during the handshake", {}});
    }
  }
  if (handshake_.state() == Handshake::State::failed) return close(handshake_.error());
  if (handshake_.state() == Handshake::State::established && state_ == State::handshaking) {
    state_ = State::established;
    established_ = true;
    peer_ = handshake_.peer();
    reader_.set_max_payload(peer_.max_payload);
    transport_.handshake_ended(peer_.dialed);
    transport_.context().events.on_established(*this);
  }
}

Result<void> TcpConnection::take_handshake_bytes(std::span<const std::byte> bytes) {
  handshake_bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string_view rest = handshake_bytes_;
  while (state_ == State::handshaking) {
    auto message = take_prefixed(rest);
    if (!message) return tl::make_unexpected(message.error());
    if (!*message) break;
    handshake_.on_message(std::as_bytes(std::span(**message)));
    advance_handshake();
  }
  const std::string kept(rest);
  handshake_bytes_.clear();
  if (state_ == State::handshaking) handshake_bytes_ = kept;
  // The peer may have sent frames right behind its last message.
  if (state_ == State::established) {
    handshake_bytes_.shrink_to_fit();
    return reader_.feed(std::as_bytes(std::span(kept)));
  }
  return {};
}

void TcpConnection::expire() {
  close({Errc::unreachable,
         state_ == State::dialing ? "the peer did not answer in time"
                                  : "the peer did not finish the handshake in time",
         {}});
}

// --- sending ------------------------------------------------------------------------------------

SendStatus TcpConnection::send(Frame& frame) {
  if (state_ != State::established) return SendStatus::closed;
  if (queue_.full()) {
    refuse();
    return SendStatus::would_block;
  }
  ++counters_.frames_sent;
  counters_.bytes_sent += frame.header.length;
  queue_.push_retained(frame);
  queued();
  return SendStatus::sent;
}

SendStatus TcpConnection::post(FramePtr& frame) {
  if (state_ != State::established) return SendStatus::closed;
  if (queue_.full()) {
    refuse();
    return SendStatus::would_block;
  }
  ++counters_.frames_sent;
  counters_.bytes_sent += frame->header.length;
  queue_.push_owned(std::move(frame));
  queued();
  return SendStatus::sent;
}

void TcpConnection::refuse() noexcept {
  refused_ = true;
  transport_.add_refused(*this);
}

void TcpConnection::queued() {
  if (!full_) {
    if (WritePacer::batch_full(queue_.frames(), queue_.bytes())) {
      write(std::chrono::steady_clock::now());
    } else if (queue_.frames() == 1 && !transport_.receiving()) {
      const Time now = std::chrono::steady_clock::now();
      if (pacer_.due(now)) write(now);
    }
  }
  if (!queue_.empty()) transport_.add_dirty(*this);
}

void TcpConnection::flush() {
  if (state_ == State::established && !queue_.empty() && !full_) {
    write(std::chrono::steady_clock::now());
  }
}

void TcpConnection::write(Time now) {
  full_ = false;
  while (open() && !full_ && !queue_.empty()) write_once(now);
  pacer_.wrote(now, std::chrono::steady_clock::now());
  if (open() && queue_.empty() && (watched_ & EPOLLOUT) != 0) watch(EPOLLIN);
}

void TcpConnection::write_once(Time now) {
  std::array<iovec, kVectors> vectors;
  const SendQueue::Gathered gathered = queue_.gather(transport_.staging(), vectors);
  ssize_t sent = 0;
  if (gathered.vectors == 1) {
    sent = ::send(socket_.get(), vectors[0].iov_base, vectors[0].iov_len, MSG_NOSIGNAL);
  } else {
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = gathered.vectors;
    sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  }
  if (sent < 0) {
    if (errno == EINTR) return;
    full_ = true;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return;
    // What the peer sent before it closed is still to be read; then reading ends the connection.
    if (errno == EPIPE || errno == ECONNRESET) return;
    return fail_socket("cannot send to the peer", errno);
  }
  queue_.consume(static_cast<std::size_t>(sent));
  transport_.add_undelivered(*this, now);
  full_ = static_cast<std::size_t>(sent) < gathered.bytes;
}

bool TcpConnection::check_delivery() {
  switch (socket_.delivery()) {
    case Socket::Delivery::unanswered:
      close({Errc::connection_lost, "the peer's host does not answer", {}});
      return false;
    case Socket::Delivery::acknowledged:
      return !queue_.empty();
    default:
      return true;
  }
}

void TcpConnection::watch_for_room() {
  if (open() && full_) watch(EPOLLIN | EPOLLOUT);
}

// --- receiving ----------------------------------------------------------------------------------

unsigned TcpConnection::receive() {
  const std::span<std::byte> scratch = transport_.scratch();
  unsigned events = 0;
  for (int reads = 0; reads < kReadsPerTurn && open(); ++reads) {
    FrameReader::Room room = reader_.room(scratch);
    ssize_t size = 0;
    if (room.count == 1) {
      size = ::recv(socket_.get(), room.vectors[0].iov_base, room.vectors[0].iov_len, 0);
    } else {
      size = ::readv(socket_.get(), room.vectors.data(), room.count);
    }
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) fail_socket("the connection broke", errno);
      return events;
    }
    if (size == 0) {
      close({Errc::connection_lost, "the peer closed the connection", {}});
      return events + 1;
    }
    ++events;
    const auto received = static_cast<std::size_t>(size);
    auto taken = state_ == State::established ? reader_.received(scratch, received)
                                              : take_handshake_bytes(scratch.first(received));
    if (!taken) {
      close(std::move(taken.error()));
      return events;
    }
    // A short read means that the socket was drained: no second call to learn it.
    if (received < room.bytes) return events;
  }
  return events;
}

void TcpConnection::on_ready(std::uint32_t events) {
  if (state_ == State::dialing) return finish_dialing();
  if (!open()) return;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) transport_.receive_on(*this);
  if (open() && (events & EPOLLOUT) != 0) write(std::chrono::steady_clock::now());
}

void TcpConnection::watch(std::uint32_t events) {
  if (watched_ == events) return;
  Poller& poller = transport_.context().poller;
  auto done = watched_ == 0 ? poller.add(socket_.get(), events, *this)
                            : poller.modify(socket_.get(), events, *this);
  if (!done) return close(done.error());
  watched_ = events;
}

// --- the end ------------------------------------------------------------------------------------

void TcpConnection::fail_socket(const char* what, int error) {
  close({Errc::connection_lost, std::string(what) + ": " + strerror(error), {}});
}

void TcpConnection::close(Error reason) {
  if (!open()) return;
  if (under_handshake()) transport_.handshake_ended(peer_.dialed);
  state_ = State::closed;
  established_ = false;
  reason_ = std::move(reason);
  reader_.stop();
  queue_.clear();
  if (socket_ && watched_ != 0) transport_.context().poller.remove(socket_.get(), *this);
  watched_ = 0;
  socket_.reset();
  transport_.add_closed();
}

}  // namespace godwit::fabric::tcp
