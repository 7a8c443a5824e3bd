// What `godwit perf client` says to `godwit perf server`, as requests among those that are
// measured.
//
// Little endian, as the wire (fabric/frame.h). A request that begins with the mark and has the size
// of a Control is one; everything else is echoed: requests by a reply, messages by a message,
// unless the sender has begun a stream.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>

#include "godwit/grant.h"
#include "godwit/message.h"

namespace godwit::node::cli::perf {

/// Ends in the protocol's version.
inline constexpr std::array<char, 16> kMark = {'g', 'o', 'd', 'w', 'i', 't', '-', 'p',
                                               'e', 'r', 'f', '/', '1', 0,   0,   0};

enum class Operation : std::uint32_t {
  begin_stream = 1,  // messages from now on are counted, not echoed
  end_stream = 2,    // answers what arrived since; in order behind the messages
  open_copy = 3,     // provides `size` bytes of patterned memory and grants it to the asker
  checksum = 4,      // of that memory, as it is now
  close_copy = 5,
};

struct Control {
  std::array<char, 16> mark = kMark;
  Operation operation{};
  std::uint32_t reserved = 0;
  std::uint64_t size = 0;
};
static_assert(sizeof(Control) == 32 && std::is_trivially_copyable_v<Control>);

struct Answer {
  std::uint32_t status = 0;  // 0, or an Errc
  std::uint32_t reserved = 0;
  std::uint64_t messages = 0;      // end_stream
  std::uint64_t bytes = 0;         // end_stream
  std::uint64_t out_of_order = 0;  // end_stream: messages whose number was not the next
  std::uint64_t checksum = 0;      // checksum
  std::array<std::byte, GrantRef::kBytes> grant{};  // open_copy
};
static_assert(sizeof(Answer) == 80 && std::is_trivially_copyable_v<Answer>);

/// The largest memory that a server provides for copies.
inline constexpr std::uint64_t kMaxCopy = std::uint64_t{4} << 30;

/// Messages of a stream that have room for it begin with their number, from 0.
inline constexpr std::size_t kNumberSize = sizeof(std::uint64_t);

template <typename T>
Bytes bytes_of_struct(const T& value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::as_bytes(std::span(&value, 1));
}

inline std::optional<Control> decode_control(Bytes payload) noexcept {
  Control control;
  if (payload.size() != sizeof control) return std::nullopt;
  std::memcpy(&control, payload.data(), sizeof control);
  if (control.mark != kMark) return std::nullopt;
  return control;
}

inline std::optional<Answer> decode_answer(Bytes payload) noexcept {
  Answer answer;
  if (payload.size() != sizeof answer) return std::nullopt;
  std::memcpy(&answer, payload.data(), sizeof answer);
  return answer;
}

}  // namespace godwit::node::cli::perf
