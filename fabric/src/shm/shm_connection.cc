#include "shm/shm_connection.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "shm/shm_transport.h"

namespace godwit::fabric::shm {

namespace {

constexpr std::size_t kMaxDatagram = Handshake::kMaxMessage + 1;
constexpr std::size_t kDescriptors = 4;  // segment, sleep page, arena, wake-up

struct Setup {
  std::uint32_t ring_capacity;
  std::uint32_t barriers;  // 1: this side issues barriers before it sleeps
  std::uint64_t arena_capacity;
};

}  // namespace

ShmConnection::ShmConnection(ShmTransport& transport, Descriptor socket, Handshake handshake,
                             std::chrono::steady_clock::time_point deadline)
    : Connection(TransportKind::shm),
      transport_(transport),
      socket_(std::make_shared<const Descriptor>(std::move(socket))),
      handshake_(std::move(handshake)),
      deadline_(deadline) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(socket_->get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
    peer_pid_ = credentials.pid;
  }
}

ShmConnection::~ShmConnection() {
  leave_poller();
  if (peer_arena_ != nullptr) peer_arena_->drop();
}

Result<void> ShmConnection::start() {
  auto watching = transport_.context().poller.add(socket_->get(), EPOLLIN | EPOLLRDHUP, *this);
  if (!watching) return watching;
  watched_ = true;
  advance_handshake();
  return {};
}

void ShmConnection::leave_poller() noexcept {
  if (std::exchange(watched_, false)) transport_.context().poller.remove(socket_->get(), *this);
}

// --- set-up ------------------------------------------------------------------------------------

void ShmConnection::on_ready(std::uint32_t) {
  while (!closing_ && !peer_left_) {
    std::array<std::byte, kMaxDatagram> bytes;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptors * sizeof(int))> control;
    iovec part{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = recvmsg(socket_->get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      lose(Errc::connection_lost, "the peer's engine is gone");
      return;
    }
    std::vector<Descriptor> descriptors;
    for (cmsghdr* part_of = CMSG_FIRSTHDR(&message); part_of != nullptr;
         part_of = CMSG_NXTHDR(&message, part_of)) {
      if (part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = (part_of->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      std::array<int, kDescriptors> fds{};
      std::memcpy(fds.data(), CMSG_DATA(part_of), std::min(count, fds.size()) * sizeof(int));
      for (std::size_t i = 0; i < std::min(count, fds.size()); ++i)
        descriptors.emplace_back(fds[i]);
    }
    on_datagram({bytes.data(), static_cast<std::size_t>(got)}, std::move(descriptors));
  }
}

void ShmConnection::on_datagram(std::span<const std::byte> datagram,
                                std::vector<Descriptor> descriptors) {
  switch (static_cast<char>(datagram[0])) {
    case kHandshakeMessage:
      if (handshake_.state() == Handshake::State::running) {
        handshake_.on_message(datagram.subspan(1));
        advance_handshake();
        return;
      }
      break;
    case kSetupMessage:
      if (handshake_.state() == Handshake::State::established && !established_) {
        auto done = take_setup(datagram.subspan(1), std::move(descriptors));
        if (!done) close(done.error());
        return;
      }
      break;
    case kByeMessage:
      lose(Errc::connection_lost, "the peer closed the connection");
      return;
    case kDoneMessage:
      for (const std::uint64_t offset : std::exchange(lent_, {})) {
        transport_.context().arena.give_back(offset);
      }
      return;
    default:
      break;
  }
  close(Error{
      Errc::protocol_error, "an unexpected message on a shared-memory connection's socket", {}});
}

void ShmConnection::advance_handshake() {
  for (const std::string& output : handshake_.take_output()) {
    const std::string datagram = static_cast<char>(kHandshakeMessage) + output;
    if (::send(socket_->get(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      close(fail_errno("cannot send the handshake").value());
      return;
    }
  }
  if (handshake_.state() == Handshake::State::failed) {
    close(handshake_.error());
  } else if (handshake_.state() == Handshake::State::established && !setup_sent_) {
    auto sent = send_setup();
    if (!sent) close(sent.error());
  }
}

Result<void> ShmConnection::send_setup() {
  const std::uint32_t capacity = transport_.ring_capacity();
  auto segment = Mapping::create("godwit-ring", Segment::bytes_for(capacity), segment_fd_);
  if (!segment) return tl::make_unexpected(segment.error());
  segments_->own_memory = std::move(*segment);

  const TransportContext& context = transport_.context();
  const Setup setup{capacity, transport_.barriers() ? 1u : 0u, context.arena.capacity()};
  std::array<char, 1 + sizeof(Setup)> body;
  body[0] = kSetupMessage;
  std::memcpy(body.data() + 1, &setup, sizeof setup);
  const std::array<int, kDescriptors> fds = {segment_fd_.get(), transport_.page_fd(),
                                             context.arena.fd(), context.poller.wake_fd()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fds)> control{};
  iovec part{body.data(), body.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(rights), fds.data(), sizeof fds);
  if (sendmsg(socket_->get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    return fail_errno("cannot hand the shared memory to the peer");
  }
  setup_sent_ = true;
  return {};
}

Result<void> ShmConnection::take_setup(std::span<const std::byte> body,
                                       std::vector<Descriptor> descriptors) {
  Setup setup;
  if (body.size() < sizeof setup || descriptors.size() != kDescriptors) {
    return fail(Errc::protocol_error, "a short set-up message on a shared-memory connection");
  }
  std::memcpy(&setup, body.data(), sizeof setup);
  const std::uint32_t capacity = setup.ring_capacity;
  if (capacity < kMinRing || capacity > kMaxRing || (capacity & (capacity - 1)) != 0) {
    return fail(Errc::protocol_error, "the peer's ring has an impossible size");
  }
  auto segment = Mapping::of_peer(descriptors[0].get(), Segment::bytes_for(capacity));
  if (!segment) return tl::make_unexpected(segment.error());
  auto page = Mapping::of_peer(descriptors[1].get(), sizeof(EnginePage));
  if (!page) return tl::make_unexpected(page.error());
  auto arena = Mapping::of_peer(descriptors[2].get(), setup.arena_capacity);
  if (!arena) return tl::make_unexpected(arena.error());

  segments_->peer_memory = std::move(*segment);
  peer_page_ = std::move(*page);
  peer_arena_ = new PeerArena(std::move(*arena), socket_, transport_.context().poller.wake_fd());
  writer_ = RingWriter(segments_->own(), segments_->peer(), transport_.ring_capacity());
  reader_ = RingReader(segments_->own(), segments_->peer(), capacity);
  waker_ = Waker(reinterpret_cast<const EnginePage*>(peer_page_.base()), std::move(descriptors[3]),
                 !(transport_.barriers() && setup.barriers == 1));
  become_established();
  return {};
}

void ShmConnection::become_established() {
  established_ = true;
  deadline_ = std::chrono::steady_clock::time_point::max();
  peer_ = handshake_.peer();
  transport_.established(*this);
}

// --- sending -----------------------------------------------------------------------------------

SendStatus ShmConnection::send(Frame& frame) {
  return write_frame(frame.header, frame.payload(), frame.large);
}

SendStatus ShmConnection::post(FramePtr& frame) {
  const SendStatus status = write_frame(frame->header, frame->payload(), frame->large);
  if (status == SendStatus::sent) frame.reset();
  return status;
}

SendStatus ShmConnection::write_frame(const FrameHeader& header, std::span<const std::byte> payload,
                                      const Buffer& large) {
  if (closing_ || peer_left_ || !established_) [[unlikely]]
    return SendStatus::closed;
  if (large.empty()) [[likely]] {
    std::byte* record = writer_.claim(payload.size());
    if (record == nullptr) [[unlikely]]
      return blocked();
    HeaderWords words = load_words(&header);
    words[0] = payload.size();  // and kEmpty
    store_words(record, words);
    std::memcpy(record + sizeof header, payload.data(), payload.size());
    writer_.commit(record, kInline);
  } else {
    Arena& arena = transport_.context().arena;
    Buffer copy;
    std::uint64_t offset = large.token();
    if (!arena.owns(large)) {
      // Memory that the peer cannot map: one copy into memory that it can.
      copy = arena.allocate(payload.size());
      if (copy.empty()) return blocked();
      offset = copy.token();
    }
    std::byte* record = writer_.claim(sizeof(Reference));
    if (record == nullptr) return blocked();
    if (!copy.empty()) std::memcpy(copy.data(), payload.data(), payload.size());
    FrameHeader out = header;
    out.fabric = kEmpty;
    const Reference reference{offset};
    std::memcpy(record, &out, sizeof out);
    std::memcpy(record + sizeof out, &reference, sizeof reference);
    arena.lend(offset);
    lent_.push_back(offset);
    writer_.commit(record, kReference);
  }
  ++counters_.frames_sent;
  counters_.bytes_sent += payload.size();
  transport_.count_wake(waker_.wake_if_asleep());
  return SendStatus::sent;
}

SendStatus ShmConnection::blocked() noexcept {
  blocked_ = true;
  segments_->own()->blocked.store(1, std::memory_order_relaxed);
  return SendStatus::would_block;
}

// --- receiving ---------------------------------------------------------------------------------

unsigned ShmConnection::poll() {
  unsigned events = 0;
  RingReader::Record record;
  while (events < kBatch && !closing_) {
    if (!reader_.peek(record)) [[unlikely]] {
      close(Error{Errc::protocol_error, "the peer wrote an impossible record into its ring", {}});
      break;
    }
    if (record.kind == kEmpty) break;
    ++events;
    if (!deliver(record)) [[unlikely]] {
      close(Error{Errc::protocol_error, "the peer referred to memory outside its arena", {}});
      break;
    }
    reader_.next();
  }
  if (reader_.publish() && segments_->peer()->blocked.load(std::memory_order_relaxed) != 0) {
    transport_.count_wake(waker_.wake_if_asleep());
  }
  if (peer_arena_->has_returned() || !returning_.empty()) [[unlikely]]
    give_back();
  if (blocked_ && !closing_ && writer_.has_room(kSmallPayload)) [[unlikely]] {
    blocked_ = false;
    segments_->own()->blocked.store(0, std::memory_order_relaxed);
    ++events;
    transport_.context().events.on_writable(*this);
  }
  if (peer_left_ && events == 0 && !closing_) [[unlikely]] {
    close(reason_);
    ++events;
  }
  return events;
}

bool ShmConnection::pending() {
  return closing_ || peer_left_ || reader_.ready() || peer_arena_->has_returned() ||
         (blocked_ && writer_.has_room(kSmallPayload));
}

bool ShmConnection::deliver(const RingReader::Record& record) {
  const FrameHeader& header = record.header;
  ConnectionEvents& events = transport_.context().events;
  if (record.kind == kInline) [[likely]] {
    ++counters_.frames_received;
    counters_.bytes_received += header.length;
    events.on_frame(*this, header, {record.payload, header.length}, {});
    return true;
  }
  if (record.kind == kRelease) {
    take_release(record);
    return true;
  }
  Reference reference;
  std::memcpy(&reference, record.payload, sizeof reference);
  if (header.length > peer_.max_payload || reference.offset > peer_arena_->size() ||
      header.length > peer_arena_->size() - reference.offset) {
    return false;
  }
  ++counters_.frames_received;
  counters_.bytes_received += header.length;
  Buffer buffer = peer_arena_->borrow(reference.offset, header.length);
  const std::span<const std::byte> payload = buffer.span();
  events.on_frame(*this, header, payload, std::move(buffer));
  return true;
}

void ShmConnection::take_release(const RingReader::Record& record) {
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= record.header.length;
       at += sizeof(std::uint64_t)) {
    std::uint64_t offset;
    std::memcpy(&offset, record.payload + at, sizeof offset);
    // Blocks come back nearly in the order they were lent; one that we did not lend is ignored.
    const auto lent = std::find(lent_.begin(), lent_.end(), offset);
    if (lent == lent_.end()) continue;
    lent_.erase(lent);
    transport_.context().arena.give_back(offset);
  }
}

void ShmConnection::give_back() {
  for (const std::uint64_t offset : peer_arena_->take_returned()) returning_.push_back(offset);
  while (!returning_.empty() && !closing_ && !peer_left_) {
    const std::size_t count =
        std::min<std::size_t>(returning_.size(), kSmallPayload / sizeof(std::uint64_t));
    const std::size_t bytes = count * sizeof(std::uint64_t);
    std::byte* record = writer_.claim(bytes);
    if (record == nullptr) return;  // the next poll() tries again; the peer is reading
    FrameHeader header;
    header.length = static_cast<std::uint32_t>(bytes);
    std::memcpy(record, &header, sizeof header);
    std::memcpy(record + sizeof header, returning_.data(), bytes);
    writer_.commit(record, kRelease);
    returning_.erase(returning_.begin(), returning_.begin() + static_cast<std::ptrdiff_t>(count));
    transport_.count_wake(waker_.wake_if_asleep());
  }
}

// --- one-sided ---------------------------------------------------------------------------------

namespace {

bool is_above(std::uint32_t key, std::uint32_t other) noexcept {
  return static_cast<std::int32_t>(key - other) > 0;
}

/// The kernel lets processes of one user reach each other's memory, so there is nothing to open. It
/// is closed by agreement, together with what was exposed before, and not while the peer is in a
/// copy.
class OpenMemory final : public Exposure {
 public:
  OpenMemory(std::span<std::byte> memory, std::uint32_t key,
             std::shared_ptr<const Segments> segments)
      : Exposure({reinterpret_cast<std::uint64_t>(memory.data()), key}, memory.size()),
        segments_(std::move(segments)) {}
  bool close() noexcept override {
    std::atomic<std::uint32_t>& shut = segments_->own()->shut;
    if (is_above(where().key, shut.load(std::memory_order_relaxed)))
      shut.store(where().key, std::memory_order_seq_cst);
    return segments_->peer()->copying.load(std::memory_order_seq_cst) == 0;
  }

 private:
  std::shared_ptr<const Segments> segments_;
};

/// While it exists, this side may be in the peer's memory.
class Visit {
 public:
  explicit Visit(const Segments& segments) : segments_(segments) {
    segments_.own()->copying.store(1, std::memory_order_seq_cst);
  }
  ~Visit() { segments_.own()->copying.store(0, std::memory_order_release); }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  bool is_welcome(std::uint32_t key) const noexcept {
    return is_above(key, segments_.peer()->shut.load(std::memory_order_seq_cst));
  }

 private:
  const Segments& segments_;
};

Error transfer_error() {
  switch (errno) {
    case EPERM:
    case ENOSYS:
      return {
          Errc::not_supported, "the kernel refuses access to the peer's memory (ptrace scope)", {}};
    case ESRCH:
      return {Errc::connection_lost, "the peer's process is gone", {}};
    case EFAULT:
      return {Errc::out_of_bounds, "the granted memory is not mapped", {}};
    default:
      return fail_errno("cannot copy between processes").value();
  }
}

}  // namespace

Result<std::unique_ptr<Exposure>> ShmConnection::expose(std::span<std::byte> memory, Access) {
  return std::make_unique<OpenMemory>(memory, ++exposed_, segments_);
}

// Ends inside the call.
void ShmConnection::start(OneSidedCopy& copy) {
  copy.begin();
  if (closing_ || peer_left_) return copy.end(Error{Errc::connection_lost, {}, {}});
  if (peer_pid_ == 0)
    return copy.end(Error{Errc::not_supported, "the peer is in another PID namespace", {}});
  const Visit visit(*segments_);
  if (!visit.is_welcome(copy.remote.key)) {
    close(Error{Errc::connection_lost, "the peer has taken its memory back", {}});
    return copy.end(Error{Errc::connection_lost, {}, {}});
  }
  const bool writes = copy.access == Access::write;
  const auto move = writes ? process_vm_writev : process_vm_readv;
  while (copy.completed < copy.local.size()) {
    const std::size_t left = copy.local.size() - copy.completed;
    const iovec here{copy.local.data() + copy.completed, left};
    const iovec there{
        reinterpret_cast<void*>(copy.remote.address + copy.completed),  // NOLINT: the peer's
        left};
    const ssize_t done = move(peer_pid_, &here, 1, &there, 1, 0);
    if (done <= 0) return copy.end(transfer_error());
    copy.completed += static_cast<std::uint64_t>(done);
    (writes ? counters_.bytes_written : counters_.bytes_fetched) +=
        static_cast<std::uint64_t>(done);
  }
  copy.end();
}

// --- the end -----------------------------------------------------------------------------------

void ShmConnection::lose(Errc code, std::string why) {
  if (established_) {
    // What the peer had committed before it left is still delivered; poll() closes afterwards.
    peer_left_ = true;
    reason_ = Error{code, std::move(why), {}};
    leave_poller();
    transport_.poke();
  } else {
    close(Error{code, std::move(why), {}});
  }
}

void ShmConnection::close(Error reason) {
  if (std::exchange(closing_, true)) return;
  if (!peer_left_) tell(socket_->get(), kByeMessage);
  reason_ = std::move(reason);
  leave_poller();
  transport_.closing(*this);
}

}  // namespace godwit::fabric::shm
