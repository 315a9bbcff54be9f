#include "flux/base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace flux {
namespace {

std::span<const std::byte> as_bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(Crc32c, KnownAnswers) {  // RFC 3720, B.4
    std::string ascending;
    for (int i = 0; i < 32; ++i) {
        ascending += static_cast<char>(i);
    }
    for (const auto function : {crc32c, crc32c_portable}) {
        EXPECT_EQ(function(as_bytes(""), 0), 0u);
        EXPECT_EQ(function(as_bytes("123456789"), 0), 0xE3069283u);
        EXPECT_EQ(function(as_bytes(std::string(32, '\0')), 0), 0x8A9136AAu);
        EXPECT_EQ(function(as_bytes(std::string(32, '\xFF')), 0), 0x62A8AB43u);
        EXPECT_EQ(function(as_bytes(ascending), 0), 0x46DD794Eu);
    }
}

TEST(Crc32c, PiecesOfAnyLengthContinue) {
    std::string text;
    for (int i = 0; i < 200; ++i) {
        text += static_cast<char>(i * i + 7);
    }
    const uint32_t whole = crc32c(as_bytes(text));
    for (size_t cut = 0; cut <= text.size(); ++cut) {
        const auto bytes = as_bytes(text);
        EXPECT_EQ(crc32c(bytes.subspan(cut), crc32c(bytes.first(cut))), whole);
        EXPECT_EQ(crc32c_portable(bytes.subspan(cut), crc32c_portable(bytes.first(cut))), whole);
    }
}

}  // namespace
}  // namespace flux
