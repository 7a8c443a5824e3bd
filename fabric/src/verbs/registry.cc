#ifdef GODWIT_HAVE_VERBS

#include "verbs/registry.h"

#include <algorithm>

namespace godwit::fabric::verbs {

namespace {
/// Below this, frames are as good.
constexpr std::uint64_t kLeastExposed = 16u << 10;
}  // namespace

void Registration::reset() noexcept {
  if (registry_ == nullptr) return;
  registry_->let_go(*this);
  registry_ = nullptr;
}

Announce Registration::announce() const {
  Announce announce;
  announce.address = reinterpret_cast<std::uint64_t>(memory_.data());
  if (own_ != nullptr) {
    announce.chunk_bits = Announce::kWhole;
    announce.keys.push_back(own_->rkey);
    return announce;
  }
  announce.chunk_bits = registry_->chunk_bits_;
  const auto offset = static_cast<std::uint64_t>(memory_.data() - registry_->arena_.data());
  announce.skipped = offset - (std::uint64_t{first_} << announce.chunk_bits);
  for (std::uint32_t i = 0; i < count_; ++i)
    announce.keys.push_back(registry_->chunks_[first_ + i].region->rkey);
  return announce;
}

RemoteMemory Registration::remote() const {
  return {reinterpret_cast<std::uint64_t>(memory_.data()), own_->rkey};
}

Registration::Piece Registration::piece(std::uint64_t offset) const noexcept {
  if (own_ != nullptr) return {own_->lkey, memory_.size() - offset};
  const std::uint64_t at =
      static_cast<std::uint64_t>(memory_.data() - registry_->arena_.data()) + offset;
  const std::uint32_t bits = registry_->chunk_bits_;
  const std::uint64_t end = ((at >> bits) + 1) << bits;
  return {registry_->chunks_[at >> bits].region->lkey, std::min(end - at, memory_.size() - offset)};
}

Registry::Registry(ibv_pd* domain, std::span<std::byte> arena, std::uint32_t chunk_bits,
                   std::uint64_t limit)
    : domain_(domain),
      arena_(arena),
      chunk_bits_(chunk_bits),
      limit_(limit),
      chunks_(arena.size() >> chunk_bits) {}

bool Registry::inside_arena(std::span<std::byte> memory) const noexcept {
  return memory.data() >= arena_.data() && memory.data() < arena_.data() + arena_.size() &&
         memory.size() <= static_cast<std::size_t>(arena_.data() + arena_.size() - memory.data());
}

Registration Registry::acquire(std::span<std::byte> memory, Use use) {
  Registration made;
  if (memory.empty()) return made;
  made.memory_ = memory;
  if (inside_arena(memory)) {
    const auto offset = static_cast<std::uint64_t>(memory.data() - arena_.data());
    const std::uint64_t count = chunks_of(offset, memory.size(), chunk_bits_);
    if (count > Announce::kMaxKeys) return made;
    made.first_ = static_cast<std::uint32_t>(offset >> chunk_bits_);
    made.registry_ = this;
    ++held_;
    for (; made.count_ < count; ++made.count_) {
      if (hold_chunk(made.first_ + made.count_)) continue;
      made.reset();
      break;
    }
    return made;
  }
  const int access = use == Use::peer_reads      ? IBV_ACCESS_REMOTE_READ
                     : use == Use::device_writes ? IBV_ACCESS_LOCAL_WRITE
                                                 : 0;  // the device may read whatever it has
  register_alone(made, memory, access);
  return made;
}

bool Registry::register_alone(Registration& made, std::span<std::byte> memory, int access) {
  if (!make_room(memory.size())) return false;
  made.own_.reset(ibv_reg_mr(domain_, memory.data(), memory.size(), access));
  if (made.own_ == nullptr) return false;
  made.memory_ = memory;
  made.registry_ = this;
  bytes_ += memory.size();
  ++held_;
  return true;
}

// Never by way of the arena's chunks, which give more than was asked for.
Registration Registry::expose(std::span<std::byte> memory, Access access) {
  Registration made;
  const int rights = access == Access::read ? IBV_ACCESS_REMOTE_READ
                                            : IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  const std::uint64_t least = std::min<std::uint64_t>(memory.size(), kLeastExposed);
  std::uint64_t size = std::min<std::uint64_t>(memory.size(), kMaxExposed);
  for (; size != 0 && size >= least; size /= 2) {
    if (exposed_ + size > limit_ / 2) continue;
    if (!register_alone(made, memory.first(size), rights)) continue;
    made.exposed_ = true;
    exposed_ += size;
    break;
  }
  return made;
}

bool Registry::hold_chunk(std::uint32_t index) {
  Chunk& chunk = chunks_[index];
  if (chunk.region == nullptr) {
    const std::uint64_t size = std::uint64_t{1} << chunk_bits_;
    if (!make_room(size)) return false;
    chunk.region.reset(ibv_reg_mr(domain_, arena_.data() + index * size, size,
                                  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ));
    if (chunk.region == nullptr) return false;
    registered_.push_back(index);
    bytes_ += size;
  }
  ++chunk.users;
  chunk.last_use = ++uses_;
  return true;
}

// At most a few hundred chunks are registered, and one is looked for only when the limit is
// reached.
bool Registry::make_room(std::uint64_t bytes) {
  if (bytes > limit_) return false;
  while (bytes_ + bytes > limit_) {
    auto oldest = registered_.end();
    for (auto it = registered_.begin(); it != registered_.end(); ++it) {
      if (chunks_[*it].users != 0) continue;
      if (oldest == registered_.end() || chunks_[*it].last_use < chunks_[*oldest].last_use)
        oldest = it;
    }
    if (oldest == registered_.end()) return false;
    chunks_[*oldest].region.reset();
    bytes_ -= std::uint64_t{1} << chunk_bits_;
    *oldest = registered_.back();
    registered_.pop_back();
  }
  return true;
}

void Registry::let_go(Registration& registration) noexcept {
  --held_;
  if (registration.own_ != nullptr) {
    bytes_ -= registration.memory_.size();
    if (registration.exposed_) exposed_ -= registration.memory_.size();
    registration.exposed_ = false;
    registration.own_.reset();
    return;
  }
  for (std::uint32_t i = 0; i < registration.count_; ++i) --chunks_[registration.first_ + i].users;
  registration.count_ = 0;
}

}  // namespace godwit::fabric::verbs

#endif
