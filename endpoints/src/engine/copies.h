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
#include "godwit/grant.h"

namespace godwit {

namespace fabric {
class Connection;
}
struct Channel;
struct LocalEndpoint;

/// One grant, at its owner.
struct Grant {
  std::byte* memory = nullptr;
  std::uint64_t length = 0;
  Rights rights = Rights::read;
  std::optional<EndpointId> peer;
  std::uint32_t users = 0;  // leases, transfers and frames in flight that touch the memory
  bool revoked = false;     // no new use
};
/// Grants outlive their entry while frames still refer to them.
using GrantTable = std::unordered_map<std::uint64_t, std::shared_ptr<Grant>>;

/// A copy at its requester. Lives with whoever waits for it.
struct Copy {
  enum class State : std::uint8_t { starting, waiting, streaming, leased, done };

  Channel* channel = nullptr;
  std::uint32_t token = 0;
  State state = State::starting;
  wire::CopyRequest request{};
  std::span<std::byte> memory;  // local end; empty for delegate and push
  bool to_owner = false;
  std::uint64_t progress = 0;   // bytes from the front that are done for good
  std::uint64_t base = 0;       // where this session's request began
  std::uint64_t streamed = 0;   // to_owner: bytes handed to the connection in this session
  std::uint64_t lease = 0;      // address in the owner's process
  bool no_lease = false;        // the kernel refused one-sided access: stream instead
  std::uint32_t in_flight = 0;  // frames that still refer to `memory`
  fabric::Connection* last_connection = nullptr;  // may be gone: compared, then used
  std::uint64_t value = 0;                        // delegate: the new key
  std::optional<Result<void>> result;
  std::function<void(Copy&)> on_done;  // for copies that nobody waits for synchronously
};

/// A copy at the owner of the granted memory.
struct Transfer {
  Channel* channel = nullptr;  // null: to be dropped
  std::uint32_t token = 0;
  std::shared_ptr<Grant> grant;
  std::byte* memory = nullptr;
  std::uint64_t length = 0;
  std::uint64_t progress = 0;  // bytes streamed, or received
  bool to_owner = false;
  bool lease = false;
  std::uint32_t in_flight = 0;  // frames that still refer to the memory
};

}  // namespace godwit
