#include "flux/base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace flux {
namespace {

TEST(FirstInvalidUtf8, AcceptsEveryLength) {
    for (const char* text : {"", "plain", "caf\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x8C\xB3 tree",
                             "\xED\x9F\xBF\xEE\x80\x80", "\xF4\x8F\xBF\xBF"}) {
        EXPECT_EQ(first_invalid_utf8(text), std::nullopt) << text;
    }
    EXPECT_EQ(first_invalid_utf8(std::string("a\0b", 3)), std::nullopt);
}

TEST(FirstInvalidUtf8, NamesTheByteThatBeginsNoCharacter) {
    const auto position = [](const std::string& bad) { return first_invalid_utf8("ab" + bad); };
    for (const std::string bad : {"\xE9", "\x80", "\xFF", "\xC3", "\xC3(", "\xE2\x82", "\xE2(\xAC",
                                  "\xF0\x9F\x8C", "\xF8\x88\x80\x80\x80"}) {
        EXPECT_EQ(position(bad), 2u) << testing::PrintToString(bad);
    }
}

TEST(FirstInvalidUtf8, RefusesOverlongFormsSurrogatesAndWhatLiesBeyondUnicode) {
    for (const std::string bad : {"\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF",
                                  "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80",
                                  "\xED\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"}) {
        EXPECT_EQ(first_invalid_utf8(bad), 0u) << testing::PrintToString(bad);
    }
}

}  // namespace
}  // namespace flux
