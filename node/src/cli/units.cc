#include "cli/units.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <limits>

namespace godwit::node::cli {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string formatted(const char* format, double value, const char* unit) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value, unit);
  return text.data();
}

// Three significant digits, which is what a reader compares at a glance.
std::string scaled(double value, const char* unit) {
  const char* format = value < 9.995 ? "%.2f %s" : value < 99.95 ? "%.1f %s" : "%.0f %s";
  return formatted(format, value, unit);
}

// Length of the UTF-8 sequence at the start of `text`; 0 if it is none.
std::size_t sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t length = first < 0x80                    ? 1
                             : first >= 0xc2 && first < 0xe0 ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // Overlong forms, surrogates, and what lies beyond the last code point.
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) > 0x9f) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  const auto bad = [&] {
    return fail(Errc::invalid_argument,
                "'" + printable(text) + "' is no size: write a number of bytes, or 64k, 1MiB, 2g");
  };
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return bad();
  const std::string unit = lower(std::string_view(end, text.data() + text.size() - end));
  unsigned shift = 0;
  if (unit.empty() || unit == "b") {
    shift = 0;
  } else if (unit == "k" || unit == "kb" || unit == "kib") {
    shift = 10;
  } else if (unit == "m" || unit == "mb" || unit == "mib") {
    shift = 20;
  } else if (unit == "g" || unit == "gb" || unit == "gib") {
    shift = 30;
  } else {
    return bad();
  }
  if (number > std::numeric_limits<std::uint64_t>::max() >> shift) return bad();
  return number << shift;
}

Result<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  const auto bad = [&] {
    return fail(Errc::invalid_argument,
                "'" + printable(text) + "' is no duration: write 250ms, 1.5s, 100us or 2m");
  };
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  // The comparison also refuses "nan", and the limit "inf".
  if (error != std::errc() || !(number >= 0)) return bad();
  const std::string_view unit(end, text.data() + text.size() - end);
  double scale = 0;
  if (unit == "ns") {
    scale = 1;
  } else if (unit == "us") {
    scale = 1e3;
  } else if (unit == "ms") {
    scale = 1e6;
  } else if (unit == "s" || unit.empty()) {
    scale = 1e9;
  } else if (unit == "m" || unit == "min") {
    scale = 60e9;
  } else if (unit == "h") {
    scale = 3600e9;
  } else {
    return bad();
  }
  constexpr double kTenYears = 10 * 365.25 * 24 * 3600e9;
  if (number * scale > kTenYears) return bad();
  return std::chrono::nanoseconds(static_cast<std::int64_t>(number * scale));
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return formatted("%.0f %s", bytes, "B");
  std::size_t unit = 0;
  for (bytes /= 1024; bytes >= 1023.5 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
  return scaled(bytes, kUnits[unit]);
}

std::string human_count(double count) {
  constexpr std::array kUnits = {"k", "M", "G", "T"};
  if (count < 1000) return formatted(count == static_cast<int>(count) ? "%.0f" : "%.1f", count, "");
  std::size_t unit = 0;
  for (count /= 1000; count >= 999.5 && unit + 1 < kUnits.size(); ++unit) count /= 1000;
  return scaled(count, kUnits[unit]);
}

std::string human_time(double nanoseconds) {
  if (nanoseconds < 999.5) return formatted("%.0f %s", nanoseconds, "ns");
  if (nanoseconds < 999.5e3) return scaled(nanoseconds / 1e3, "us");
  if (nanoseconds < 999.5e6) return scaled(nanoseconds / 1e6, "ms");
  return scaled(nanoseconds / 1e9, "s");
}

std::string human_age(std::chrono::seconds age) {
  const long long seconds = std::max<long long>(age.count(), 0);
  const auto two = [](long long big, const char* big_unit, long long small, const char* unit) {
    return std::to_string(big) + big_unit + " " + std::to_string(small) + unit;
  };
  if (seconds >= 86400) return two(seconds / 86400, "d", seconds % 86400 / 3600, "h");
  if (seconds >= 3600) return two(seconds / 3600, "h", seconds % 3600 / 60, "m");
  if (seconds >= 60) return two(seconds / 60, "m", seconds % 60, "s");
  return std::to_string(seconds) + "s";
}

std::string age_since(std::int64_t unix_ms) {
  const auto moment = std::chrono::system_clock::time_point(std::chrono::milliseconds(unix_ms));
  return human_age(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now() - moment));
}

std::string hex_number(std::uint64_t number) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(number));
  return text.data();
}

std::string printable(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = sequence(text);
    const auto first = static_cast<unsigned char>(text[0]);
    // U+0080 to U+009F are control characters too: some terminals obey them.
    const bool control =
        first < 0x20 || first == 0x7f ||
        (first == 0xc2 && length == 2 && static_cast<unsigned char>(text[1]) < 0xa0);
    const std::size_t taken = std::max<std::size_t>(length, 1);
    if (length == 0 || control) {
      for (std::size_t i = 0; i < taken; ++i) {
        std::array<char, 8> escaped{};
        std::snprintf(escaped.data(), escaped.size(), "\\x%02x",
                      static_cast<unsigned char>(text[i]));
        result += escaped.data();
      }
    } else {
      result += text.substr(0, taken);
    }
    text.remove_prefix(taken);
  }
  return result;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = sequence(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace godwit::node::cli
