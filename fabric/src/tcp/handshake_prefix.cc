#include "tcp/handshake_prefix.h"

#include <algorithm>
#include <cassert>

#include "godwit/fabric/handshake.h"

namespace godwit::fabric::tcp {

std::string prefixed(std::string_view message) {
  assert(message.size() <= Handshake::kMaxMessage);
  std::string framed(kHandshakeMagic);
  framed += static_cast<char>(message.size() & 0xff);
  framed += static_cast<char>(message.size() >> 8);
  return framed.append(message);
}

Result<std::optional<std::string_view>> take_prefixed(std::string_view& bytes) {
  const std::size_t known = std::min(bytes.size(), kHandshakeMagic.size());
  if (bytes.substr(0, known) != kHandshakeMagic.substr(0, known)) {
    return fail(Errc::protocol_error, "the peer does not speak this protocol");
  }
  if (bytes.size() < kHandshakePrefix) return std::nullopt;
  const std::size_t size = static_cast<unsigned char>(bytes[4]) |
                           static_cast<std::size_t>(static_cast<unsigned char>(bytes[5])) << 8;
  if (size > Handshake::kMaxMessage) {
    return fail(Errc::protocol_error, "the peer sent a handshake message above the limit");
  }
  if (bytes.size() < kHandshakePrefix + size) return std::nullopt;
  const std::string_view message = bytes.substr(kHandshakePrefix, size);
  bytes.remove_prefix(kHandshakePrefix + size);
  return message;
}

}  // namespace godwit::fabric::tcp
