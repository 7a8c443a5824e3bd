// The rule for names that cross the wire: what a log, a path or a terminal can show safely.
#pragma once

#include <algorithm>
#include <string_view>

namespace godwit::fabric {

inline bool has_control_character(std::string_view text) noexcept {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

/// 1 to 255 bytes without control characters.
inline bool valid_node_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 255 && !has_control_character(name);
}

}  // namespace godwit::fabric
