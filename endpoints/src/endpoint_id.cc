#include "godwit/endpoint_id.h"

#include "godwit/resolver.h"

namespace godwit {

namespace {

constexpr std::size_t kMaxName = 255;

/// Length of the UTF-8 sequence at the front, 0 if it is none (RFC 3629).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  std::size_t length;
  std::uint32_t code;
  if (first < 0x80) return 1;
  if ((first & 0xE0) == 0xC0) {
    length = 2;
    code = first & 0x1Fu;
  } else if ((first & 0xF0) == 0xE0) {
    length = 3;
    code = first & 0x0Fu;
  } else if ((first & 0xF8) == 0xF0) {
    length = 4;
    code = first & 0x07u;
  } else {
    return 0;
  }
  if (text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < kSmallest[length] || code > 0x10FFFF || surrogate ? 0 : length;
}

}  // namespace

std::string EndpointId::to_string() const {
  return std::to_string(dc) + ":" + std::to_string(slot) + "." + std::to_string(generation);
}

std::string_view to_string(EndpointState state) noexcept {
  switch (state) {
    case EndpointState::serving:
      return "serving";
    case EndpointState::moving:
      return "moving";
    case EndpointState::unbound:
      return "unbound";
    case EndpointState::dead:
      return "dead";
  }
  return "unknown";
}

Result<void> check_name(std::string_view what, std::string_view name) {
  const std::string subject(what);
  if (name.empty()) return fail(Errc::invalid_argument, subject + " must not be empty");
  if (name.size() > kMaxName) {
    return fail(Errc::invalid_argument,
                subject + " is limited to 255 bytes, this one has " + std::to_string(name.size()));
  }
  for (std::size_t at = 0; at < name.size();) {
    const auto byte = static_cast<unsigned char>(name[at]);
    const std::size_t length = utf8_length(name.substr(at));
    if (byte < 0x20 || byte == 0x7F || length == 0) {
      return fail(Errc::invalid_argument, subject + " must be UTF-8 without control characters");
    }
    at += length;
  }
  return {};
}

Result<EndpointName> EndpointName::parse(std::string_view full) {
  const std::size_t slash = full.find('/');
  if (slash == std::string_view::npos) {
    return fail(Errc::invalid_argument, "an endpoint is named DC/NAME, as in demo/echo",
                std::string(full));
  }
  EndpointName name{full.substr(0, slash), full.substr(slash + 1)};
  if (auto checked = check_name("a DC's name", name.dc); !checked)
    return tl::make_unexpected(checked.error());
  if (auto checked = check_name("an endpoint's name", name.name); !checked) {
    return tl::make_unexpected(checked.error());
  }
  return name;
}

}  // namespace godwit
