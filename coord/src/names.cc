#include <godwit/coord/names.h>

namespace godwit::coord {
namespace {

constexpr char kHex[] = "0123456789ABCDEF";

bool is_plain(char c, bool first) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '~' || c == ':' || (c == '.' && !first);
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Length of the valid UTF-8 sequence at the start of `text`, 0 if there is none
// (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF); its code point in
// `code`.
std::size_t utf8_sequence(std::string_view text, std::uint32_t& code) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  std::size_t length = 0;
  std::uint32_t lowest = 0;
  if (lead < 0x80) {
    code = lead;
    return 1;
  }
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2, lowest = 0x80, code = lead & 0x1fU;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3, lowest = 0x800, code = lead & 0x0fU;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4, lowest = 0x10000, code = lead & 0x07U;
  } else {
    return 0;
  }
  if (text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
    code = (code << 6) | (byte(i) & 0x3fU);
  }
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return code < lowest || surrogate || code > 0x10ffff ? 0 : length;
}

}  // namespace

Result<void> validate_name(std::string_view kind, std::string_view name) {
  const auto refuse = [&](const std::string& why) {
    return fail(Errc::bad_argument, std::string(kind) + " " + why);
  };
  if (name.empty()) return refuse("is empty");
  if (name.size() > kMaxNameBytes)
    return refuse("has " + std::to_string(name.size()) + " bytes; the limit is " +
                  std::to_string(kMaxNameBytes));
  for (std::size_t at = 0; at < name.size();) {
    std::uint32_t code = 0;
    const std::size_t length = utf8_sequence(name.substr(at), code);
    if (length == 0) return refuse("is not valid UTF-8 at byte " + std::to_string(at));
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
      return refuse("has a control character at byte " + std::to_string(at));
    at += length;
  }
  return {};
}

std::string readable_text(std::string_view text, std::size_t limit) {
  std::string readable;
  for (std::size_t at = 0; at < text.size();) {
    std::uint32_t code = 0;
    const std::size_t length = utf8_sequence(text.substr(at), code);
    const bool good = length > 0 && code >= 0x20 && (code < 0x7f || code > 0x9f);
    const std::string_view next = good ? text.substr(at, length) : "?";
    if (readable.size() + next.size() > limit) break;
    readable += next;
    at += length > 0 ? length : 1;
  }
  return readable;
}

std::string encode_name(std::string_view name) {
  std::string component;
  component.reserve(name.size());
  for (const char c : name) {
    if (is_plain(c, component.empty())) {
      component += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      component += '%';
      component += kHex[byte >> 4];
      component += kHex[byte & 0x0f];
    }
  }
  return component;
}

Result<std::string> decode_name(std::string_view component) {
  std::string name;
  for (std::size_t i = 0; i < component.size(); ++i) {
    if (component[i] != '%') {
      name += component[i];
      continue;
    }
    const int high = i + 2 < component.size() ? hex_value(component[i + 1]) : -1;
    const int low = i + 2 < component.size() ? hex_value(component[i + 2]) : -1;
    if (high < 0 || low < 0) break;
    name += static_cast<char>(high * 16 + low);
    i += 2;
  }
  // One form only: what does not encode to itself was written by something else.
  if (name.empty() || encode_name(name) != component)
    return fail(Errc::corrupt, "'" + std::string(component) + "' is not an encoded name");
  return name;
}

std::string bucket_component(std::uint32_t bucket) {
  constexpr char kLowerHex[] = "0123456789abcdef";
  return {kLowerHex[(bucket >> 4) & 0x0f], kLowerHex[bucket & 0x0f]};
}

std::string bucket_of_name(std::string_view name) {
  // FNV-1a, 64 bit (Fowler, Noll, Vo). Part of the stored format: never to change.
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return bucket_component(static_cast<std::uint32_t>(hash % kBuckets));
}

std::string bucket_of_slot(std::uint32_t slot) {
  return bucket_component(slot % kBuckets);
}

}  // namespace godwit::coord
