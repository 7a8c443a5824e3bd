// One-sided access: a peer copies from or to memory of this process by itself, without our help.
//
// The owner of the memory exposes a piece of it over one connection, for one kind of access, and
// tells the peer where it is (in a frame of the layer above). The peer starts copies against that.
// What is not exposed cannot be touched; how that is enforced is the transport's affair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "godwit/error.h"

namespace godwit::fabric {

/// What the peer may do with exposed memory.
enum class Access : std::uint8_t { read, write };

/// Where exposed memory is, for the peer. Plain data; only the transport knows what it means.
struct RemoteMemory {
  std::uint64_t address = 0;
  std::uint32_t key = 0;
};

/// Memory that the peer of one connection may touch. Engine's thread only; may outlive its
/// connection, whose end closes it, but not its transport.
class Exposure {
 public:
  virtual ~Exposure() = default;
  Exposure(const Exposure&) = delete;
  Exposure& operator=(const Exposure&) = delete;

  const RemoteMemory& where() const noexcept { return where_; }
  /// Bytes that are exposed, from the front of what was asked for.
  std::uint64_t size() const noexcept { return size_; }

  /// Shuts the peer out. True: it has, and will have, touched nothing after this call; a copy of
  /// its that is under way, or that it starts, fails, and its connection with it. False: it begins
  /// no further copy, but is in the middle of one; ask again. Its own word ends it as well.
  virtual bool close() noexcept = 0;

 protected:
  Exposure(RemoteMemory where, std::uint64_t size) : where_(where), size_(size) {}

 private:
  RemoteMemory where_;
  std::uint64_t size_;
};

/// One copy by this side. The caller owns it.
struct OneSidedCopy {
  RemoteMemory remote;
  std::span<std::byte> local;    // only read from where `access` is write
  Access access = Access::read;  // of the remote memory
  std::uint64_t completed = 0;   // bytes from the front that are certain, also after a failure
  std::optional<Error> error;    // how it ended, if not well

  bool under_way() const noexcept { return under_way_; }

  // For transports.
  void begin() noexcept {
    under_way_ = true;
    completed = 0;
    error.reset();
  }
  void end(std::optional<Error> how = std::nullopt) {
    under_way_ = false;
    error = std::move(how);
  }

 private:
  bool under_way_ = false;
};

}  // namespace godwit::fabric
