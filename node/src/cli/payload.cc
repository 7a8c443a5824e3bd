#include "cli/payload.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "cli/units.h"
#include "godwit/endpoint.h"

namespace godwit::node::cli {
namespace {

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<std::string> read_stream(int fd, const std::string& what, std::size_t limit) {
  std::string text;
  std::array<char, 65536> piece{};
  while (true) {
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("cannot read " + what);
    if (got == 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(got));
    if (text.size() > limit)
      return fail(Errc::too_large, what + " has more than " + std::to_string(limit) + " bytes");
  }
}

Result<std::string> read_file(const std::string& file, std::size_t limit) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno("cannot open " + file);
  auto text = read_stream(fd, file, limit);
  ::close(fd);
  return text;
}

Result<std::string> parse_hex(std::string_view text) {
  std::string bytes;
  int high = -1;
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') continue;
    const int value = digit(c);
    if (value < 0)
      return fail(Errc::invalid_argument,
                  "'" + printable(std::string_view(&c, 1)) + "' is no hexadecimal digit");
    if (high < 0) {
      high = value;
    } else {
      bytes += static_cast<char>(high << 4 | value);
      high = -1;
    }
  }
  if (high >= 0) return fail(Errc::invalid_argument, "an odd number of hexadecimal digits");
  return bytes;
}

void add_payload_options(CLI::App* command, PayloadChoice& choice) {
  CLI::Option* text =
      command->add_option("text", choice.text, "The payload; '-' reads standard input")
          ->type_name("TEXT");
  command->add_option("--file", choice.file, "Take the payload from this file")
      ->type_name("FILE")
      ->excludes(text);
  command->add_flag("--hex", choice.hex, "The payload is written in hexadecimal digits");
}

Result<std::string> read_payload(const PayloadChoice& choice) {
  // Two digits, and perhaps a blank, for each byte.
  const std::size_t limit = choice.hex ? 3 * kMaxMessage : kMaxMessage;
  Result<std::string> payload = choice.text;
  if (!choice.file.empty()) {
    payload = read_file(choice.file, limit);
  } else if (choice.text == "-") {
    payload = read_stream(STDIN_FILENO, "standard input", limit);
  }
  if (payload && choice.hex) payload = parse_hex(*payload);
  if (payload && payload->size() > kMaxMessage)
    return fail(Errc::too_large, "the payload has " + std::to_string(payload->size()) +
                                     " bytes, a message at most " + std::to_string(kMaxMessage));
  return payload;
}

}  // namespace godwit::node::cli
