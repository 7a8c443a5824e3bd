// Sizes and durations as people write them, and numbers as people read them. Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "godwit/error.h"

namespace godwit::node::cli {

/// "64", "4k", "1MiB", "2g": powers of 1024, the suffix in any case. invalid_argument for anything
/// else (signs, fractions, other suffixes) and for what does not fit 64 bits.
Result<std::uint64_t> parse_size(std::string_view text);

/// "250ms", "1.5s", "100us", "2m", "1h"; without a unit: seconds. Not negative, at most 10 years.
Result<std::chrono::nanoseconds> parse_duration(std::string_view text);

/// 1536 -> "1.5 KiB"; below 1 KiB "N B".
std::string human_bytes(double bytes);
/// 1234567 -> "1.23 M"; below 1000 as it is.
std::string human_count(double count);
/// 1234 -> "1.23 us".
std::string human_time(double nanoseconds);
/// Of a longer time: "3d 4h", "5m 10s", "12s".
std::string human_age(std::chrono::seconds age);
/// How long ago a moment was, given in milliseconds of Unix time.
std::string age_since(std::int64_t unix_ms);
/// 16 hexadecimal digits: incarnations, processes and lineages, which JSON numbers cannot hold.
std::string hex_number(std::uint64_t number);

/// Text that came from elsewhere, fit for a terminal: control characters and bytes that are no
/// UTF-8 as \xNN.
std::string printable(std::string_view text);
bool is_utf8(std::string_view text);
/// Columns that printable text takes (one for each code point).
std::size_t width(std::string_view text);

}  // namespace godwit::node::cli
