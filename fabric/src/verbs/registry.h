// Registry: memory of payloads, registered for the device within a limit.
//
// Blocks of the engine's arena are registered in aligned chunks that stay registered, the longest
// unused one giving way when the limit is reached; other memory (a program's own, in a copy against
// a grant) is registered for one use, and so is, to the byte, what peers are let into (exposed).
// What the limit does not allow is refused: the caller then copies. Registering makes a system call
// and pins the pages, so memory of a chunk becomes resident. Engine's thread only; must outlive the
// registrations it gave.
#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "godwit/fabric/one_sided.h"
#include "verbs/handles.h"
#include "verbs/wire.h"

namespace godwit::fabric::verbs {

class Registry;

/// A payload's memory, registered as long as this lives.
class Registration {
 public:
  Registration() = default;
  Registration(Registration&& other) noexcept { swap(other); }
  Registration& operator=(Registration&& other) noexcept {
    Registration taken(std::move(other));
    swap(taken);
    return *this;
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  ~Registration() { reset(); }

  explicit operator bool() const noexcept { return registry_ != nullptr; }
  void reset() noexcept;

  /// How a peer reads it.
  Announce announce() const;
  /// How a peer reaches memory that was registered by expose().
  RemoteMemory remote() const;
  std::uint64_t size() const noexcept { return memory_.size(); }

  struct Piece {
    std::uint32_t key;   // local
    std::uint64_t size;  // bytes that it reaches from there on
  };
  Piece piece(std::uint64_t offset) const noexcept;

 private:
  friend class Registry;
  void swap(Registration& other) noexcept {
    std::swap(registry_, other.registry_);
    std::swap(memory_, other.memory_);
    std::swap(first_, other.first_);
    std::swap(count_, other.count_);
    own_.swap(other.own_);
    std::swap(exposed_, other.exposed_);
  }

  Registry* registry_ = nullptr;
  std::span<std::byte> memory_;
  std::uint32_t first_ = 0;  // chunks of the arena
  std::uint32_t count_ = 0;
  Handle<ibv_mr> own_;  // or of this memory alone
  bool exposed_ = false;
};

class Registry {
 public:
  enum class Use : std::uint8_t { peer_reads, device_reads, device_writes };
  /// The most that is exposed at once by one registration.
  static constexpr std::uint64_t kMaxExposed = 8u << 20;

  /// `limit` in bytes, over all registrations.
  Registry(ibv_pd* domain, std::span<std::byte> arena, std::uint32_t chunk_bits,
           std::uint64_t limit);
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  /// Empty when the limit or the system does not allow it.
  Registration acquire(std::span<std::byte> memory, Use use);

  /// Registers exactly the first bytes of `memory` for exactly that access of a peer: as many as
  /// there is room for, at most kMaxExposed. The room for all exposures is half of the limit, so
  /// that the payloads of messages are not pushed out by them. Empty when nothing of it can be.
  Registration expose(std::span<std::byte> memory, Access access);

  std::uint64_t bytes() const noexcept { return bytes_; }
  std::uint64_t exposed() const noexcept { return exposed_; }
  /// Registrations that are held; those of idle chunks are not.
  std::size_t held() const noexcept { return held_; }

 private:
  friend class Registration;

  struct Chunk {
    Handle<ibv_mr> region;
    std::uint32_t users = 0;
    std::uint64_t last_use = 0;
  };

  bool inside_arena(std::span<std::byte> memory) const noexcept;
  bool hold_chunk(std::uint32_t index);
  bool make_room(std::uint64_t bytes);
  bool register_alone(Registration& made, std::span<std::byte> memory, int access);
  void let_go(Registration& registration) noexcept;

  ibv_pd* domain_;
  std::span<std::byte> arena_;
  std::uint32_t chunk_bits_;
  std::uint64_t limit_;
  std::uint64_t bytes_ = 0;
  std::uint64_t exposed_ = 0;
  std::size_t held_ = 0;
  std::uint64_t uses_ = 0;
  std::vector<Chunk> chunks_;
  std::vector<std::uint32_t> registered_;  // indices of the chunks that are
};

}  // namespace godwit::fabric::verbs
