// What a client and the key-value server say to each other. A request is a Header, the key and the
// value; a reply is a Status and the value. Both ends are of this build, so plain structs do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "godwit/message.h"

namespace kv {

// add: counts the value up by one, from 0 if there is none, and answers the new count.
enum class Operation : std::uint8_t { get = 1, put = 2, remove = 3, watch = 4, add = 5 };
enum class Status : std::uint8_t { ok = 0, not_found = 1, bad_request = 2 };

struct Header {
  Operation operation;
  std::uint8_t bit;  // watch: the bit of the notification that tells of a change
  std::uint16_t key_size;
};
static_assert(sizeof(Header) == 4);

struct Parsed {
  Header header;
  std::string_view key, value;
};

inline std::string encode(Operation operation, std::string_view key, std::string_view value = {},
                          std::uint8_t bit = 0) {
  const Header header{operation, bit, static_cast<std::uint16_t>(key.size())};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes.append(key).append(value);
  return bytes;
}

inline std::optional<Parsed> parse(godwit::Bytes bytes) {
  Parsed parsed{};
  if (bytes.size() < sizeof parsed.header) return std::nullopt;
  std::memcpy(&parsed.header, bytes.data(), sizeof parsed.header);
  const std::string_view rest = godwit::text_of(bytes).substr(sizeof parsed.header);
  if (rest.size() < parsed.header.key_size || parsed.header.bit > 63) return std::nullopt;
  parsed.key = rest.substr(0, parsed.header.key_size);
  parsed.value = rest.substr(parsed.header.key_size);
  return parsed;
}

}  // namespace kv
