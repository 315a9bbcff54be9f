// A decoded picture in the pixel format of its file. Resizing happens in that format, because the
// reference resizes before it converts to RGB, and the two orders give different pixels.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace flux::data {

enum class Mode {
    kBilevel,    // one byte a pixel, 0 or 255
    kGray,       // one byte
    kGrayAlpha,  // two bytes
    kPalette,    // one byte: index into the palette
    kRgb,        // three bytes
    kRgba,       // four bytes
    kCmyk,       // four bytes, 255 = full ink
    kGray16,     // two bytes, the low one first
};

constexpr int bytes_per_pixel(Mode mode) {
    switch (mode) {
        case Mode::kGrayAlpha:
        case Mode::kGray16:
            return 2;
        case Mode::kRgb:
            return 3;
        case Mode::kRgba:
        case Mode::kCmyk:
            return 4;
        default:
            return 1;
    }
}

/// Pillow's short names: "1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16".
std::string_view mode_name(Mode mode);

struct Raster {
    int width = 0;
    int height = 0;
    Mode mode = Mode::kRgb;
    std::vector<uint8_t> data;               // height * width * bytes_per_pixel(mode), row by row
    std::array<uint8_t, 3 * 256> palette{};  // RGB, for kPalette

    size_t row_bytes() const { return static_cast<size_t>(width) * bytes_per_pixel(mode); }
    uint8_t* row(int y) { return data.data() + row_bytes() * y; }
    const uint8_t* row(int y) const { return data.data() + row_bytes() * y; }
};

}  // namespace flux::data
