#include "godwit/error.h"

#include <cerrno>
#include <cstring>
#include <system_error>

namespace godwit {

std::string_view to_string(Errc code) noexcept {
  switch (code) {
    case Errc::invalid_argument:
      return "invalid_argument";
    case Errc::not_found:
      return "not_found";
    case Errc::name_taken:
      return "name_taken";
    case Errc::would_block:
      return "would_block";
    case Errc::deadline_exceeded:
      return "deadline_exceeded";
    case Errc::cancelled:
      return "cancelled";
    case Errc::endpoint_died:
      return "endpoint_died";
    case Errc::permission_denied:
      return "permission_denied";
    case Errc::out_of_bounds:
      return "out_of_bounds";
    case Errc::too_large:
      return "too_large";
    case Errc::no_memory:
      return "no_memory";
    case Errc::no_space:
      return "no_space";
    case Errc::wrong_key:
      return "wrong_key";
    case Errc::version_mismatch:
      return "version_mismatch";
    case Errc::protocol_error:
      return "protocol_error";
    case Errc::connection_lost:
      return "connection_lost";
    case Errc::unreachable:
      return "unreachable";
    case Errc::not_supported:
      return "not_supported";
    case Errc::wrong_thread:
      return "wrong_thread";
    case Errc::agent_unavailable:
      return "agent_unavailable";
    case Errc::closed:
      return "closed";
    case Errc::system:
      return "system";
    case Errc::moved:
      return "moved";
  }
  return "unknown";
}

std::string Error::to_string() const {
  std::string text(godwit::to_string(code));
  if (!endpoint.empty()) text += ": " + endpoint;
  if (!message.empty()) text += ": " + message;
  if (outcome == Outcome::unknown) text += " (it may have been executed)";
  return text;
}

tl::unexpected<Error> fail_errno(std::string_view what) {
  const int error = errno;
  Errc code = Errc::system;
  if (error == ENOSPC || error == EDQUOT) code = Errc::no_space;
  if (error == ENOMEM || error == EMFILE || error == ENFILE) code = Errc::no_memory;
  if (error == EACCES || error == EPERM) code = Errc::permission_denied;
  // std::generic_category is used for its thread-safe text; strerror is not.
  return fail(code, std::string(what) + ": " + std::generic_category().message(error));
}

}  // namespace godwit
