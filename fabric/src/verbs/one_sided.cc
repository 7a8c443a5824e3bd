// VerbsConnection: one-sided copies, and what peers are let into.
//
// Exposed memory is a memory region of its own: the device itself keeps a peer within its bytes and
// its one kind of access, and a peer that tries more loses its connection. Closing an exposure
// deregisters the region. Nothing of the peer's lands afterwards.
#ifdef GODWIT_HAVE_VERBS

#include <algorithm>
#include <cstring>
#include <utility>

#include "verbs/verbs_connection.h"
#include "verbs/verbs_transport_impl.h"

namespace godwit::fabric::verbs {

class VerbsExposure final : public Exposure {
 public:
  VerbsExposure(VerbsConnection& connection, Registration memory)
      : Exposure(memory.remote(), memory.size()),
        connection_(&connection),
        memory_(std::move(memory)) {
    connection.exposures_.push_back(this);
  }
  ~VerbsExposure() override { close(); }

  bool close() noexcept override {
    if (connection_ == nullptr) return true;
    VerbsConnection& connection = *std::exchange(connection_, nullptr);
    std::erase(connection.exposures_, this);
    const std::uint64_t failed = failed_releases();
    memory_.reset();
    // A region that stays in spite of us: then at least its peer must go.
    if (failed_releases() != failed && connection.link_ != nullptr) {
      connection.link_->break_pair();
      connection.lose({Errc::connection_lost, "the device does not take memory back", {}});
    }
    return true;
  }

 private:
  VerbsConnection* connection_;  // null once closed
  Registration memory_;
};

std::uint64_t VerbsConnection::one_sided_from() const noexcept {
  return transport_.options().one_sided_threshold;
}

Result<std::unique_ptr<Exposure>> VerbsConnection::expose(std::span<std::byte> memory,
                                                          Access access) {
  if (state_ != State::established) return fail(Errc::connection_lost);
  Registration made = transport_.device().registry().expose(memory, access);
  if (!made) return fail(Errc::no_memory, "too much memory is open to peers already");
  return std::make_unique<VerbsExposure>(*this, std::move(made));
}

void VerbsConnection::start(OneSidedCopy& copy) {
  copy.begin();
  if (state_ != State::established) return copy.end(Error{Errc::connection_lost, {}, {}});
  if (copy.local.empty()) return copy.end();
  const auto use =
      copy.access == Access::read ? Registry::Use::device_writes : Registry::Use::device_reads;
  copies_.push_back({&copy, transport_.device().registry().acquire(copy.local, use), 0, false});
  advance_copies();
}

void VerbsConnection::give_up(OneSidedCopy& copy) noexcept {
  const auto found = std::find_if(copies_.begin(), copies_.end(),
                                  [&](const Copying& each) { return each.copy == &copy; });
  if (found == copies_.end()) return;
  found->given_up = true;
  end_if_over(*found);
}

// Posts as much as may be out, oldest first.
void VerbsConnection::advance_copies() {
  for (Copying& copying : copies_) {
    while (!copying.given_up && copying.requested < copying.copy->local.size()) {
      if (!copy_piece(copying)) return;
    }
  }
}

bool VerbsConnection::copy_piece(Copying& copying) {
  Device& device = transport_.device();
  const OneSidedCopy& copy = *copying.copy;
  const bool reads = copy.access == Access::read;
  if (closing() || pieces_.size() >= kMaxPieces) return false;
  // Fetching what was announced comes first, as frames wait for that.
  if (reads && reads_out() >= std::max(device.max_reads() / 2, 1u)) return false;
  if (!link_->room()) return transport_.starved(*this), false;
  std::byte* from = copy.local.data() + copying.requested;
  std::uint64_t size = std::min(copy.local.size() - copying.requested, kMaxPiece);
  std::uint32_t bounce = Device::kNone;
  ibv_sge local{};
  if (copying.memory) {
    const auto reach = copying.memory.piece(copying.requested);
    size = std::min(size, reach.size);
    local = {reinterpret_cast<std::uint64_t>(from), 0, reach.key};
  } else {
    bounce = device.take_bounce();
    if (bounce == Device::kNone) return transport_.starved(*this), false;
    size = std::min<std::uint64_t>(size, kBounceBytes);
    if (!reads) std::memcpy(device.bounce(bounce), from, size);
    local = {reinterpret_cast<std::uint64_t>(device.bounce(bounce)), 0, device.bounce_key()};
  }
  local.length = static_cast<std::uint32_t>(size);
  if (!link_->access(reads ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
                     {copy.remote.address + copying.requested, copy.remote.key}, local,
                     {Posted::Kind::copy, bounce})) {
    if (bounce != Device::kNone) device.free_bounce(bounce);
    lose({Errc::connection_lost, "the device refuses to copy", {}});
    return false;
  }
  pieces_.push_back({&copying, bounce, local.length});
  if (reads) ++copy_reads_;
  copying.requested += size;
  return true;
}

void VerbsConnection::on_piece_done() {
  if (pieces_.empty()) return;
  const Piece piece = pieces_.front();
  pieces_.pop_front();
  Device& device = transport_.device();
  Copying& copying = *piece.of;
  OneSidedCopy& copy = *copying.copy;
  const bool reads = copy.access == Access::read;
  if (reads) --copy_reads_;
  if (piece.bounce != Device::kNone) {
    if (reads)
      std::memcpy(copy.local.data() + copy.completed, device.bounce(piece.bounce), piece.size);
    device.free_bounce(piece.bounce);
  }
  copy.completed += piece.size;
  (reads ? counters_.bytes_fetched : counters_.bytes_written) += piece.size;
  end_if_over(copying);
  if (closing()) return;
  fetch();  // first, also where the device allows one READ at a time
  advance_copies();
}

bool VerbsConnection::end_if_over(Copying& copying) {
  OneSidedCopy& copy = *copying.copy;
  const bool whole = copy.completed == copy.local.size();
  const bool idle = copying.given_up && copy.completed == copying.requested;
  if (!whole && !idle) return false;
  copies_.remove_if([&](const Copying& each) { return &each == &copying; });
  copy.end(whole ? std::nullopt : std::optional(Error{Errc::cancelled, {}, {}}));
  return true;
}

// The connection is over. Its link is gone, or has no pieces any more.
void VerbsConnection::end_one_sided() {
  while (!exposures_.empty()) exposures_.back()->close();
  pieces_.clear();
  copy_reads_ = 0;
  for (Copying& copying : std::exchange(copies_, {})) {
    copying.memory.reset();
    copying.copy->end(Error{Errc::connection_lost, {}, {}});
  }
}

}  // namespace godwit::fabric::verbs

#endif
