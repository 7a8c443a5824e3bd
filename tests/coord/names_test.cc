#include <godwit/coord/names.h>

#include <godwit/coord/coordinator.h>
#include <gtest/gtest.h>

#include <set>

namespace godwit::coord {
namespace {

TEST(Names, ValidOnesSurviveTheWayThroughAPath) {
  std::set<std::string> components;
  const std::vector<std::string> names = {
      "a",    "web/fs", "web%2Ffs", ".", "..", "...", "a.b",       "ünïcödé",
      "日本", "😀",      "a b",      "%", "/",  "//",  "zookeeper", std::string(255, '/'),
      "\\",   "'\"",    "~:-_",     "A", "-.", "a%",  "%41"};
  for (const std::string& name : names) {
    ASSERT_TRUE(validate_name("name", name)) << name;
    const std::string component = encode_name(name);
    EXPECT_TRUE(validate_path("/" + component)) << component;
    EXPECT_EQ(component.find('/'), std::string::npos);
    EXPECT_TRUE(components.insert(component).second) << component;
    auto back = decode_name(component);
    ASSERT_TRUE(back) << component;
    EXPECT_EQ(*back, name);
  }
}

TEST(Names, BadOnesAreRefusedWithAReason) {
  const std::vector<std::string> names = {"",
                                          std::string(256, 'a'),
                                          std::string("a\0b", 3),
                                          "\n",
                                          "\x7f",
                                          "\xc2\x80",
                                          "\xff",
                                          "\xc3",
                                          "\xc0\xaf",
                                          "\xe0\x80\xaf",
                                          "\xed\xa0\x80",
                                          "\xf4\x90\x80\x80",
                                          "\xf8\x88\x80\x80\x80",
                                          "a\x80"};
  for (const std::string& name : names) {
    auto result = validate_name("DC name", name);
    ASSERT_FALSE(result) << name;
    EXPECT_EQ(result.error().code, Errc::bad_argument);
    EXPECT_EQ(result.error().message.rfind("DC name ", 0), 0U);
  }
}

TEST(Names, WhatIsNotAnEncodedNameIsNotDecoded) {
  for (const char* component : {"", "%", "%4", "%4g", "%2f", "%41", "a/b", ".a", "\xc3\xa9", "a%"})
    EXPECT_FALSE(decode_name(component)) << component;
}

TEST(Names, BucketsArePartOfTheFormat) {
  // Stored paths depend on these: they must never change.
  EXPECT_EQ(bucket_of_name("a"), "8c");       // FNV-1a 64: af63dc4c8601ec8c
  EXPECT_EQ(bucket_of_name("foobar"), "e8");  // 85944171f73967e8
  EXPECT_EQ(bucket_of_slot(0), "00");
  EXPECT_EQ(bucket_of_slot(511), "ff");
}

TEST(Names, TextForPeopleIsMadeToFitARecord) {
  EXPECT_EQ(readable_text("plain é", 100), "plain é");
  EXPECT_EQ(readable_text("a\nb\x7f"
                          "c\xff\xc3",
                          100),
            "a?b?c??");
  EXPECT_EQ(readable_text("abé", 3), "ab");  // no half character
  EXPECT_EQ(readable_text("abé", 4), "abé");
  EXPECT_EQ(readable_text("", 4), "");
}

}  // namespace
}  // namespace godwit::coord
