// What the engine keeps for grants and for the copies against them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>

#include "engine/wire.h"
#include "godwit/endpoint_id.h"
#include "godwit/error.h"
#include "godwit/fabric/one_sided.h"
#include "godwit/grant.h"

namespace godwit {

namespace fabric {
class Connection;
}
struct Channel;
struct LocalEndpoint;

/// Whether a range lies in another one of `size` bytes.
inline bool within(std::uint64_t offset, std::uint64_t length, std::uint64_t size) noexcept {
  return offset <= size && length <= size - offset;
}

/// One grant, at its owner.
struct Grant {
  std::byte* memory = nullptr;
  std::uint64_t length = 0;
  Rights rights = Rights::read;
  std::optional<EndpointId> peer;
  std::uint32_t users = 0;  // leases, transfers and frames that touch the memory
  bool revoked = false;     // no new use

  /// A part of another grant of the endpoint, made for a third party (copy_between). It has no
  /// memory and no uses of its own. It ends when its asker says so, or has ended, and with `whole`.
  struct Part {
    std::uint64_t whole = 0;  // key
    std::uint64_t offset = 0;
    EndpointId asker;
  };
  std::optional<Part> part;
};
/// Grants outlive their entry while frames still refer to them.
using GrantTable = std::unordered_map<std::uint64_t, std::shared_ptr<Grant>>;

/// A copy at its requester. Lives with whoever waits for it, until it is over and not busy().
struct Copy {
  // starting: the owner is to be asked; waiting: it was; recalled: a lease ends, and the owner is
  // asked again; ending: the result is there, and a lease ends.
  enum class State : std::uint8_t { starting, waiting, streaming, leased, recalled, ending, done };

  Channel* channel = nullptr;
  std::uint32_t token = 0;
  State state = State::starting;
  wire::CopyRequest request{};
  std::span<std::byte> memory;  // local end; empty for delegate and push
  bool to_owner = false;
  std::uint64_t progress = 0;   // bytes from the front that are done for good
  std::uint64_t base = 0;       // where this session's request began
  std::uint64_t streamed = 0;   // to_owner: bytes handed to the connection for this request
  wire::CopyLease lease{};      // of the bytes from `base` on
  fabric::OneSidedCopy direct;  // what is being copied under the lease
  fabric::Connection* direct_over = nullptr;  // its connection, while it is under way
  bool no_lease = false;                      // one-sided access was refused: stream instead
  // Frames that refer to `memory`: on their way out, or half-way in.
  std::uint32_t in_flight = 0;
  fabric::Connection* last_connection = nullptr;  // theirs; may be gone: compared, then used
  std::uint64_t value = 0;                        // delegate: the new key
  std::optional<Result<void>> result;
  std::function<void(Copy&)> on_done;  // for copies that nobody waits for synchronously

  /// A connection still refers to `memory`.
  bool busy() const noexcept { return in_flight != 0 || direct.under_way(); }
};

/// A copy on behalf of a third party: from a grant of ours into one elsewhere.
struct Push {
  Copy copy;  // its channel is null also while the target is being located
  std::shared_ptr<Grant> grant;
  const LocalEndpoint* owner = nullptr;
  std::uint32_t channel = 0, serial = 0, token = 0;  // of whoever asked
};

/// A copy at the owner of the granted memory.
///
/// A lease ends when its requester says so, or begins another session: it does neither while it is
/// touching the memory. Where the transport can shut it out (fabric::Exposure), it also ends with
/// the session. Where it cannot, a broken connection leaves it an orphan: a use of the grant, until
/// the requester is heard of again or has ended.
///
/// A stream ends when all is there, or when it is cut: then no further frame is let into the
/// memory, and the transfer is a use of the grant until the one that was half-way in is through.
struct Transfer {
  using Time = std::chrono::steady_clock::time_point;

  Channel* channel = nullptr;  // null: over, dropped as soon as no frame refers to the memory
  const LocalEndpoint* owner = nullptr;
  EndpointId requester;
  fabric::Connection* connection = nullptr;  // its session's; may be gone: compared, then used
  std::uint32_t token = 0;
  std::shared_ptr<Grant> grant;
  std::byte* memory = nullptr;
  std::uint64_t length = 0;
  std::uint64_t progress = 0;  // bytes streamed, or received
  bool to_owner = false;
  bool lease = false;
  bool ready = false;  // the requester was told to go on
  bool orphan = false;
  Time cut_at = Time::max();                   // recalled or cut: by then it is over, or is ended
  std::unique_ptr<fabric::Exposure> exposure;  // of a lease
  std::uint32_t in_flight = 0;                 // as Copy::in_flight

  /// The peer may write into the memory, or look at it by itself.
  bool is_open_to_peer() const noexcept {
    if (lease) return channel != nullptr;
    return to_owner && (channel != nullptr || in_flight != 0);
  }
};

}  // namespace godwit
