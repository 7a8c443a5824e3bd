// Errors of coord/: a code to act on and a message to read. Plain values, owned
// by whoever holds them; any thread.
//
// coord/ knows nothing of fabric/ or endpoints/, so it has its own error type;
// node/ translates where the layers meet.
#pragma once

#include <string>
#include <string_view>

#include <tl/expected.hpp>

namespace godwit::coord {

enum class Errc {
  // What a coordination service answers.
  no_node,          // the path, or for a create its parent, does not exist
  node_exists,      // create of a path that exists
  bad_version,      // the record is not at the expected version
  not_empty,        // remove of a path that has children
  no_children_for,  // create below an ephemeral node
  bad_argument,     // path, size or count outside the documented limits; nothing was sent
  auth_failed,      // the service refused this client's credentials, or an ACL did

  // What the way to the service does.
  session_expired,  // an ephemeral create whose session ended first: no effect remains
  unavailable,      // not executed: the service was not reached before the deadline
  deadline,         // for a write: OUTCOME UNKNOWN, it was sent and its answer never came.
                    // For a read: no answer in time
  outcome_unknown,  // a write whose answer was lost, and whose record was rewritten by
                    // others so often that its trail no longer tells (see Expected)
  no_space,         // not executed: the disk under the service is full
  overloaded,       // not executed: kMaxOutstanding operations are pending
  closed,           // not executed: the coordinator is closed or closing
  io_error,         // not executed: the store failed in another way (message has it)
  corrupt,          // a record is not what it should be (foreign writer, newer schema)

  // What the directory answers.
  name_taken,      // the name is bound to an endpoint that is not dead
  name_unknown,    // no such endpoint name in that DC
  dc_exists,       // create_dc of a DC that exists
  dc_unknown,      // no such DC
  dc_in_use,       // remove_dc of a DC with endpoints that are neither unbound nor dead
  endpoint_stale,  // the endpoint's generation, state or owner is no longer the one given
  node_taken,      // another live agent holds that node name
  limit_exceeded,  // a limit of the DC (or the last slot or generation) is reached
};

// The code's name as written above, for logs and --json.
std::string_view to_string(Errc code);

struct Error {
  Errc code{};
  std::string message;
  // For a multi: index of the operation that made it fail, -1 if none in particular.
  int failed_op = -1;
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Errc code, std::string message, int failed_op = -1) {
  return tl::unexpected<Error>(Error{code, std::move(message), failed_op});
}

}  // namespace godwit::coord
