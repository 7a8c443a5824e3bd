#include "cli/units.h"

#include <gtest/gtest.h>

#include <limits>

namespace godwit::node::cli {
namespace {

using namespace std::chrono_literals;

TEST(Units, SizesWithEachSuffix) {
  EXPECT_EQ(parse_size("0").value(), 0U);
  EXPECT_EQ(parse_size("64").value(), 64U);
  EXPECT_EQ(parse_size("64B").value(), 64U);
  EXPECT_EQ(parse_size("4k").value(), 4096U);
  EXPECT_EQ(parse_size("4KiB").value(), 4096U);
  EXPECT_EQ(parse_size("1MiB").value(), 1U << 20);
  EXPECT_EQ(parse_size("2g").value(), std::uint64_t{2} << 30);
  EXPECT_EQ(parse_size("18446744073709551615").value(), std::numeric_limits<std::uint64_t>::max());
}

TEST(Units, WhatIsNoSizeSaysSo) {
  for (const char* text : {"", "k", "-1", "+1", "1.5k", "1x", "1 k", "18446744073709551616",
                           "17179869184g", "0x10", "1kk"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().code, Errc::invalid_argument);
    EXPECT_NE(size.error().message.find("'" + std::string(text) + "'"), std::string::npos);
  }
}

TEST(Units, DurationsWithEachUnit) {
  EXPECT_EQ(parse_duration("0").value(), 0ns);
  EXPECT_EQ(parse_duration("2").value(), 2s);
  EXPECT_EQ(parse_duration("1.5s").value(), 1500ms);
  EXPECT_EQ(parse_duration("250ms").value(), 250ms);
  EXPECT_EQ(parse_duration("100us").value(), 100us);
  EXPECT_EQ(parse_duration("7ns").value(), 7ns);
  EXPECT_EQ(parse_duration("2m").value(), 2min);
  EXPECT_EQ(parse_duration("1h").value(), 1h);
}

TEST(Units, WhatIsNoDurationSaysSo) {
  for (const char* text : {"", "s", "-1s", "1 s", "1e3", "nan", "inf", "1d", "99999999h", "1sec"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(Units, NumbersForPeople) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(1048576), "1.00 MiB");
  EXPECT_EQ(human_bytes(123.4 * 1024 * 1024), "123 MiB");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1234567), "1.23 M");
  EXPECT_EQ(human_count(999999), "1.00 M");
  EXPECT_EQ(human_time(999), "999 ns");
  EXPECT_EQ(human_time(1234), "1.23 us");
  EXPECT_EQ(human_time(15e6), "15.0 ms");
  EXPECT_EQ(human_time(2e9), "2.00 s");
  EXPECT_EQ(human_age(12s), "12s");
  EXPECT_EQ(human_age(310s), "5m 10s");
  EXPECT_EQ(human_age(76h), "3d 4h");
  EXPECT_EQ(human_age(-5s), "0s");
  EXPECT_EQ(hex_number(0xabc), "0000000000000abc");
}

TEST(Units, TextFromElsewhereCannotCommandTheTerminal) {
  EXPECT_EQ(printable("plain"), "plain");
  EXPECT_EQ(printable("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(printable("a\x1b[2J\n"), "a\\x1b[2J\\x0a");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");           // CSI as one code point
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");           // no UTF-8
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_TRUE(is_utf8("caf\xc3\xa9\n"));
  EXPECT_FALSE(is_utf8("\xf5"));
  EXPECT_EQ(width("caf\xc3\xa9"), 4U);
}

}  // namespace
}  // namespace godwit::node::cli
