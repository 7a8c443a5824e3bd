#include <godwit/coord/error.h>

namespace godwit::coord {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::no_node:
      return "no_node";
    case Errc::node_exists:
      return "node_exists";
    case Errc::bad_version:
      return "bad_version";
    case Errc::not_empty:
      return "not_empty";
    case Errc::no_children_for:
      return "no_children_for";
    case Errc::bad_argument:
      return "bad_argument";
    case Errc::auth_failed:
      return "auth_failed";
    case Errc::session_expired:
      return "session_expired";
    case Errc::unavailable:
      return "unavailable";
    case Errc::deadline:
      return "deadline";
    case Errc::outcome_unknown:
      return "outcome_unknown";
    case Errc::no_space:
      return "no_space";
    case Errc::overloaded:
      return "overloaded";
    case Errc::closed:
      return "closed";
    case Errc::io_error:
      return "io_error";
    case Errc::corrupt:
      return "corrupt";
    case Errc::name_taken:
      return "name_taken";
    case Errc::name_unknown:
      return "name_unknown";
    case Errc::dc_exists:
      return "dc_exists";
    case Errc::dc_unknown:
      return "dc_unknown";
    case Errc::dc_in_use:
      return "dc_in_use";
    case Errc::endpoint_stale:
      return "endpoint_stale";
    case Errc::node_taken:
      return "node_taken";
    case Errc::limit_exceeded:
      return "limit_exceeded";
  }
  return "unknown_error";
}

}  // namespace godwit::coord
