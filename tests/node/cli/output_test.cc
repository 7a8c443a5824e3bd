#include "cli/output.h"

#include <gtest/gtest.h>

#include "cli/checksum.h"
#include "cli/payload.h"
#include "cli/perf_protocol.h"
#include "cli/screen.h"

namespace godwit::node::cli {
namespace {

TEST(Output, TablesAreAligned) {
  Table table({{"NAME"}, {"COUNT", Table::Align::right}, {"LAST"}});
  table.add({"caf\xc3\xa9", "7", "x"});
  table.add({"longer name", "12345", ""});
  table.add({"bad\n", "0", "y"});
  EXPECT_EQ(table.text(),
            "NAME         COUNT  LAST\n"
            "caf\xc3\xa9             7  x\n"
            "longer name  12345\n"
            "bad\\x0a          0  y\n");
}

TEST(Output, ErrorsHaveCodeSentenceAndHint) {
  const std::string text = describe(Error{Errc::name_taken, "another has it", "demo/a\x1b"});
  EXPECT_TRUE(text.starts_with("godwit: name_taken: demo/a\\x1b: another has it\nhint: ")) << text;
  // An error of a hot path has no sentence of its own.
  EXPECT_TRUE(describe(Error{Errc::deadline_exceeded, {}, {}})
                  .starts_with("godwit: deadline_exceeded: the time given had passed\n"));
  const Error unknown{Errc::endpoint_died, {}, "demo/a", Outcome::unknown};
  EXPECT_NE(describe(unknown).find("may have been executed"), std::string::npos);
}

TEST(Output, PayloadsInJsonAreTextOnlyWhenTheyAre) {
  const Json text = json_of(bytes_of("h\xc3\xa9"));
  EXPECT_EQ(text["size"], 3);
  EXPECT_EQ(text["hex"], "68c3a9");
  EXPECT_EQ(text["text"], "h\xc3\xa9");
  EXPECT_FALSE(json_of(bytes_of("\xff")).contains("text"));
}

TEST(Output, HexadecimalPayloads) {
  EXPECT_EQ(parse_hex("CA fe\n00").value(), std::string("\xca\xfe\0", 3));
  EXPECT_EQ(parse_hex("").value(), "");
  EXPECT_EQ(parse_hex("abc").error().code, Errc::invalid_argument);
  EXPECT_EQ(parse_hex("zz").error().code, Errc::invalid_argument);
}

TEST(Output, LinesAreCutAtCodePoints) {
  EXPECT_EQ(cut("abc", 5), "abc");
  EXPECT_EQ(cut("abc", 2), "ab");
  EXPECT_EQ(cut("\xc3\xa9\xc3\xa9", 1), "\xc3\xa9");
  EXPECT_EQ(cut("abc", 0), "");
}

TEST(Checksum, SeesEachByteAndItsPlace) {
  std::vector<std::byte> bytes(1000);
  fill_pattern(bytes, 1);
  const std::uint64_t sum = checksum(bytes);
  EXPECT_EQ(checksum(bytes), sum);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    bytes[at] ^= std::byte{1};
    EXPECT_NE(checksum(bytes), sum) << at;
    bytes[at] ^= std::byte{1};
  }
  std::swap_ranges(bytes.begin(), bytes.begin() + 32, bytes.begin() + 32);
  EXPECT_NE(checksum(bytes), sum);
  std::swap_ranges(bytes.begin(), bytes.begin() + 32, bytes.begin() + 32);
  EXPECT_NE(checksum(std::span(bytes).first(999)), sum);
}

TEST(PerfProtocol, OnlyAWholeControlIsOne) {
  perf::Control control;
  control.operation = perf::Operation::open_copy;
  control.size = 77;
  const Bytes bytes = perf::bytes_of_struct(control);
  const auto decoded = perf::decode_control(bytes);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->size, 77U);
  EXPECT_FALSE(perf::decode_control(bytes.first(31)));
  EXPECT_FALSE(perf::decode_control(bytes_of(std::string(32, 'x'))));
  EXPECT_FALSE(perf::decode_answer(bytes));
}

}  // namespace
}  // namespace godwit::node::cli
