#include "agent/errors.h"

#include <utility>

namespace godwit::node {

namespace {

Errc to_code(coord::Errc code) {
  switch (code) {
    case coord::Errc::name_taken:
    case coord::Errc::dc_exists:
    case coord::Errc::node_taken:
    case coord::Errc::node_exists:
      return Errc::name_taken;
    case coord::Errc::name_unknown:
    case coord::Errc::dc_unknown:
    case coord::Errc::endpoint_stale:
    case coord::Errc::no_node:
      return Errc::not_found;
    case coord::Errc::bad_argument:
      return Errc::invalid_argument;
    case coord::Errc::limit_exceeded:
      return Errc::too_large;
    case coord::Errc::no_space:
      return Errc::no_space;
    case coord::Errc::auth_failed:
      return Errc::permission_denied;
    // The request stands against what is there now; errors of the API have no code of their own for
    // it.
    case coord::Errc::dc_in_use:
    case coord::Errc::not_empty:
    case coord::Errc::bad_version:
    case coord::Errc::no_children_for:
      return Errc::invalid_argument;
    case coord::Errc::session_expired:
    case coord::Errc::unavailable:
    case coord::Errc::deadline:
    case coord::Errc::outcome_unknown:
    case coord::Errc::overloaded:
    case coord::Errc::closed:
      return Errc::agent_unavailable;
    case coord::Errc::io_error:
    case coord::Errc::corrupt:
      return Errc::system;
  }
  return Errc::system;
}

}  // namespace

Error to_error(const coord::Error& error, std::string endpoint) {
  Error result{to_code(error.code), error.message, std::move(endpoint)};
  if (result.code == Errc::agent_unavailable) {
    result.message = "the directory cannot be reached: " + error.message;
  } else if (result.code == Errc::no_space) {
    result.message = "the disk under the directory is full: " + error.message;
  }
  return result;
}

endpoints::proto::Failure to_failure(const Error& error) {
  endpoints::proto::Failure failure;
  failure.set_code(static_cast<std::uint32_t>(error.code));
  failure.set_message(error.message);
  failure.set_endpoint(error.endpoint);
  return failure;
}

bool is_transient(coord::Errc code) {
  switch (code) {
    case coord::Errc::session_expired:
    case coord::Errc::unavailable:
    case coord::Errc::deadline:
    case coord::Errc::outcome_unknown:
    case coord::Errc::overloaded:
    case coord::Errc::no_space:
    case coord::Errc::io_error:
    case coord::Errc::bad_version:
      return true;
    default:
      return false;
  }
}

}  // namespace godwit::node
