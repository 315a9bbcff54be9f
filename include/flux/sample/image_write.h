// Writes pictures as PNG files with texts such as the prompt inside (metrics/png_text reads them).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace flux::sample {

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

/// Writes the file in one step: temporary name, fsync, rename. Throws Error naming path and reason.
void write_png(const std::filesystem::path& path, const ImageView& image,
               std::span<const PngText> texts = {});

}  // namespace flux::sample
