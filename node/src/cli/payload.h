// Where the bytes of a message come from: an argument, standard input or a file.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "cli/command.h"
#include "godwit/error.h"

namespace godwit::node::cli {

/// Reads a descriptor to its end. too_large beyond `limit` bytes.
Result<std::string> read_stream(int fd, const std::string& what, std::size_t limit);
Result<std::string> read_file(const std::string& file, std::size_t limit);

/// "0a ff" or "0aff" to bytes. invalid_argument for anything but pairs of hexadecimal digits and
/// blanks.
Result<std::string> parse_hex(std::string_view text);

/// TEXT, --hex and --file of a command that sends; --hex applies to wherever the bytes come from.
struct PayloadChoice {
  std::string text;  // "-": standard input
  std::string file;
  bool hex = false;
};
void add_payload_options(CLI::App* command, PayloadChoice& choice);

/// The bytes, at most kMaxMessage.
Result<std::string> read_payload(const PayloadChoice& choice);

}  // namespace godwit::node::cli
