// LineSocket: one end of the control connection between a test and its peer process, which carries
// one line of text for each command and one for each answer. Owns the descriptor; one thread.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::fabric::testing {

using Words = std::vector<std::string>;

class LineSocket {
 public:
  static constexpr std::size_t kMaxLine = 16 << 10;

  /// A connected stream socket.
  explicit LineSocket(int fd) : fd_(fd) {}
  ~LineSocket();
  LineSocket(const LineSocket&) = delete;
  LineSocket& operator=(const LineSocket&) = delete;

  int fd() const { return fd_; }
  /// This machine's address on the connection; 127.0.0.1 over a Unix socket.
  std::string own_host() const;

  /// Adds the end of the line. False when the other side is gone.
  bool send(std::string line);
  /// The next whole line if it has arrived; does not block.
  std::optional<std::string> take();
  /// Waits until something has arrived; at most `milliseconds`.
  void wait(int milliseconds) const;
  /// The other side is gone, or sent a line that is too long.
  bool ended() const { return ended_; }

 private:
  int fd_;
  std::string arrived_;
  bool ended_ = false;
};

/// Split at single blanks.
Words words_of(std::string_view line);
std::string to_hex(std::string_view bytes);
std::optional<std::string> from_hex(std::string_view text);

/// A decimal number and nothing else, within the type.
template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace godwit::fabric::testing
