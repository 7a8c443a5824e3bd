// How handshake messages travel over TCP: each after a magic number (4 bytes) and its length
// (2 bytes, little endian). The magic tells a stranger's bytes from a peer's at the first read.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "godwit/error.h"

namespace godwit::fabric::tcp {

inline constexpr std::string_view kHandshakeMagic = "GWT1";
inline constexpr std::size_t kHandshakePrefix = 6;

/// The message with its prefix; at most Handshake::kMaxMessage bytes.
std::string prefixed(std::string_view message);

/// Takes the first whole message off `bytes`; nullopt when there is none yet, protocol_error when
/// there never will be. The view is into what `bytes` refers to.
Result<std::optional<std::string_view>> take_prefixed(std::string_view& bytes);

}  // namespace godwit::fabric::tcp
