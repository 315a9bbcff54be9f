// PNG files: writing pictures, with texts such as the prompt inside, and reading those texts
// back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

namespace flux {

/// Rows from the top, three bytes a pixel, no padding.  // [H, W, 3] uint8
struct ImageView {
    const uint8_t* rgb = nullptr;
    int64_t width = 0;
    int64_t height = 0;
};

struct PngText {
    std::string keyword;  // 1 to 79 Latin-1 characters: "prompt"
    std::string text;     // UTF-8
};

/// How the pixels of a PNG file are stored.
enum class PngColor {
    kBilevel,    // one byte a pixel: 0 black, other values white
    kGray,       // one byte
    kGrayAlpha,  // two bytes
    kPalette,    // one byte: index into the palette
    kRgb,        // three bytes
    kRgba,       // four bytes
    kGray16,     // two bytes, the low one first
};

/// Rows from the top, no padding.
struct PngPixels {
    const uint8_t* data = nullptr;
    int64_t width = 0;
    int64_t height = 0;
    PngColor color = PngColor::kRgb;
    const uint8_t* palette = nullptr;  // 256 times RGB, for kPalette
};

/// The file's bytes; the same picture gives the same bytes (with the same libraries). Throws Error
/// for a picture of no or too many pixels.
std::string encode_png(const ImageView& image, std::span<const PngText> texts = {});
std::string encode_png(const PngPixels& pixels, std::span<const PngText> texts = {});

/// Writes the file in one step: temporary name, fsync, rename. Throws Error naming path and reason.
void write_png(const std::filesystem::path& path, const ImageView& image,
               std::span<const PngText> texts = {});

/// The texts (tEXt and uncompressed iTXt chunks), keyword -> UTF-8. Throws Error naming `path` if
/// the bytes are not a whole PNG file.
std::map<std::string, std::string> read_png_text(std::span<const std::byte> bytes,
                                                 const std::filesystem::path& path);

std::map<std::string, std::string> read_png_text(const std::filesystem::path& path);

}  // namespace flux
