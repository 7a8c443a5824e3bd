// Errors as values: the code, a sentence that says what to do, and the endpoint concerned.
// Every fallible function of Godwit returns a Result; no exception crosses its API.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace godwit {

enum class Errc : std::uint16_t {
  invalid_argument = 1,  // the caller's mistake; nothing happened
  not_found,             // no endpoint, DC or grant of that name
  name_taken,            // another live endpoint holds the name
  would_block,           // back-pressure: the window or a pool is full; try again after progress
  deadline_exceeded,     // the caller's deadline passed
  cancelled,             // another thread cancelled the wait
  endpoint_died,         // the peer is gone: its process or node died, or it was unbound
  permission_denied,     // a grant does not give this right to this endpoint
  out_of_bounds,         // outside the granted memory
  too_large,             // above a documented limit
  no_memory,             // a pool, the locked-memory limit or the machine is out of memory
  no_space,              // the disk is full
  wrong_key,             // the peer could not prove membership of the DC
  version_mismatch,      // no common wire version
  protocol_error,        // the peer sent bytes that break the protocol
  connection_lost,       // the connection broke; channels reconnect by themselves
  unreachable,           // no transport reaches the peer
  not_supported,         // this transport, machine or build cannot do it
  wrong_thread,          // called from a thread that does not own the endpoint
  agent_unavailable,     // the node's agent cannot be reached
  closed,                // the object was closed by its owner
  system,                // the operating system refused; the message has errno's text
  moved,                 // the endpoint serves in another process now: stand by or exit
};

/// The code's name as documented, e.g. "endpoint_died". Static storage.
std::string_view to_string(Errc code) noexcept;

/// What a failed send or call may have done at the peer.
enum class Outcome : std::uint8_t {
  not_executed,  // certainly nothing
  unknown,  // the peer may have executed it: its memory was lost, or the caller stopped waiting
};

struct [[nodiscard]] Error {
  Errc code;
  std::string message;   // one sentence; empty where the code says it all (hot path)
  std::string endpoint;  // name or id of the endpoint concerned, if any
  Outcome outcome = Outcome::not_executed;

  /// "endpoint_died: demo/echo: the process exited"
  std::string to_string() const;
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Errc code, std::string message = {}, std::string endpoint = {}) {
  return tl::make_unexpected(Error{code, std::move(message), std::move(endpoint)});
}

/// An error from errno: "cannot open /x: No such file or directory". ENOSPC, ENOMEM and EACCES keep
/// their own codes; everything else is Errc::system.
tl::unexpected<Error> fail_errno(std::string_view what);

}  // namespace godwit
