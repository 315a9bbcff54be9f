// The chunks are read here and not through libpng, which would have to walk the pixels to reach
// texts that stand after them. Layout: PNG specification (ISO/IEC 15948), sections 5 and 11.3.
#include <cstdint>
#include <optional>
#include <string_view>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/png.h"

namespace flux {
namespace {

constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);
constexpr size_t kChunkFrame = 12;  // length, type, checksum

uint32_t big_endian(std::string_view text) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) {
        value = value << 8 | static_cast<unsigned char>(text[i]);
    }
    return value;
}

std::string latin1_to_utf8(std::string_view text) {
    std::string result;
    for (const unsigned char c : text) {
        if (c < 0x80) {
            result += static_cast<char>(c);
        } else {
            result += static_cast<char>(0xC0 | c >> 6);
            result += static_cast<char>(0x80 | (c & 0x3F));
        }
    }
    return result;
}

/// Takes what stands before the next zero byte off `rest`.
std::optional<std::string_view> take_until_zero(std::string_view& rest) {
    const size_t end = rest.find('\0');
    if (end == std::string_view::npos) {
        return std::nullopt;
    }
    const std::string_view taken = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return taken;
}

void read_chunk(std::string_view type, std::string_view data,
                std::map<std::string, std::string>& texts) {
    if (type != "tEXt" && type != "iTXt") {
        return;
    }
    const auto keyword = take_until_zero(data);
    if (!keyword) {
        return;
    }
    if (type == "tEXt") {
        texts[latin1_to_utf8(*keyword)] = latin1_to_utf8(data);
        return;
    }
    const bool plain = data.size() >= 2 && data[0] == 0;  // compression flag, then its method
    if (plain) {
        data.remove_prefix(2);
        if (take_until_zero(data) && take_until_zero(data)) {  // language, translated keyword
            texts[latin1_to_utf8(*keyword)] = data;
        }
    }
}

}  // namespace

std::map<std::string, std::string> read_png_text(std::span<const std::byte> bytes,
                                                 const std::filesystem::path& path) {
    std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!rest.starts_with(kSignature)) {
        fail("{}: not a PNG file", path.string());
    }
    rest.remove_prefix(kSignature.size());
    std::map<std::string, std::string> texts;
    while (rest.size() >= kChunkFrame) {
        const size_t length = big_endian(rest);
        const std::string_view type = rest.substr(4, 4);
        if (length > rest.size() - kChunkFrame) {
            break;
        }
        if (type == "IEND") {
            return texts;
        }
        read_chunk(type, rest.substr(8, length), texts);
        rest.remove_prefix(length + kChunkFrame);
    }
    fail("{}: the PNG file is cut off", path.string());
}

std::map<std::string, std::string> read_png_text(const std::filesystem::path& path) {
    const MappedFile file(path);
    return read_png_text(file.bytes(), path);
}

}  // namespace flux
