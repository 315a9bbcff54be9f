// Uncompressed BMP: 1, 4, 8 bits with a palette, 16, 24 and 32 bits of colour.
#include <algorithm>
#include <cstring>

#include "data/decoders.h"
#include "flux/base/error.h"

namespace flux::data {
namespace {

uint32_t little_endian(std::span<const uint8_t> bytes, size_t offset, int size) {
    if (offset + size > bytes.size()) {
        fail("BMP picture: the file is truncated at byte {}", bytes.size());
    }
    uint32_t value = 0;
    for (int i = size; i-- > 0;) {
        value = value << 8 | bytes[offset + i];
    }
    return value;
}

struct Header {
    size_t pixels_at;
    size_t palette_at;
    int palette_step;  // bytes per palette entry
    uint32_t palette_size;
    int64_t width;
    int64_t height;
    bool top_down;
    int depth;

    size_t row_bytes() const { return (width * depth + 31) / 32 * 4; }
};

Header read_header(std::span<const uint8_t> bytes) {
    constexpr size_t kFileHeader = 14;
    Header header{};
    header.pixels_at = little_endian(bytes, 10, 4);
    const uint32_t info_size = little_endian(bytes, kFileHeader, 4);
    header.palette_at = kFileHeader + info_size;
    uint32_t compression = 0;
    if (info_size == 12) {
        header.width = little_endian(bytes, 18, 2);
        header.height = little_endian(bytes, 20, 2);
        header.depth = static_cast<int>(little_endian(bytes, 24, 2));
        header.palette_step = 3;
    } else if (info_size >= 40 && info_size <= 1024) {
        header.width = static_cast<int32_t>(little_endian(bytes, 18, 4));
        const int64_t height = static_cast<int32_t>(little_endian(bytes, 22, 4));
        header.top_down = height < 0;
        header.height = std::abs(height);
        header.depth = static_cast<int>(little_endian(bytes, 28, 2));
        compression = little_endian(bytes, 30, 4);
        header.palette_size = little_endian(bytes, 46, 4);
        header.palette_step = 4;
    } else {
        fail("BMP picture: header of {} bytes is not known", info_size);
    }
    if (compression != 0) {
        fail("BMP picture: compression {} is not supported, only uncompressed files", compression);
    }
    if (header.depth <= 8 && header.palette_size == 0) {
        header.palette_size = 1u << header.depth;
    }
    return header;
}

Mode mode_of(int depth) {
    switch (depth) {
        case 1:
        case 4:
        case 8:
            return Mode::kPalette;
        case 16:
        case 24:
        case 32:
            return Mode::kRgb;
        default:
            fail("BMP picture: {} bits a pixel, can be 1, 4, 8, 16, 24 or 32", depth);
    }
}

/// A palette of evenly spaced greys makes the picture grey, as the reference's decoder has it:
/// black and white "1", 256 greys "L".
void read_palette(std::span<const uint8_t> bytes, const Header& header, Raster& raster) {
    const uint32_t count = std::min(header.palette_size, 256u);
    const uint32_t levels = 1u << header.depth;
    bool gray = count == levels && (levels == 2 || levels == 256);
    for (uint32_t i = 0; i < count; ++i) {
        const size_t at = header.palette_at + size_t(i) * header.palette_step;
        const uint32_t color = little_endian(bytes, at, 3);
        for (int c = 0; c < 3; ++c) {
            const auto value = static_cast<uint8_t>(color >> (16 - 8 * c));
            raster.palette[3 * i + c] = value;
            gray = gray && value == (levels == 2 ? 255 * i : i);
        }
    }
    if (gray) {
        raster.mode = levels == 2 ? Mode::kBilevel : Mode::kGray;
    }
}

void read_row(const uint8_t* from, int depth, Raster& raster, uint8_t* to) {
    for (int x = 0; x < raster.width; ++x) {
        if (depth <= 8) {
            const int bit = x * depth;
            const int value = from[bit / 8] >> (8 - depth - bit % 8) & ((1 << depth) - 1);
            to[x] = static_cast<uint8_t>(raster.mode == Mode::kBilevel ? 255 * value : value);
        } else if (depth == 16) {
            const int value = from[2 * x] | from[2 * x + 1] << 8;
            for (int c = 0; c < 3; ++c) {
                const int five_bits = value >> (10 - 5 * c) & 31;
                to[3 * x + c] = static_cast<uint8_t>(five_bits * 255 / 31);
            }
        } else {
            const uint8_t* pixel = from + x * (depth / 8);
            std::reverse_copy(pixel, pixel + 3, to + 3 * x);
        }
    }
}

}  // namespace

Decoded decode_bmp(std::span<const uint8_t> bytes, int64_t max_pixels) {
    const Header header = read_header(bytes);
    const Mode mode = mode_of(header.depth);
    check_picture_size("BMP", header.width, header.height, max_pixels);
    if (header.pixels_at > bytes.size() ||
        header.row_bytes() * header.height > bytes.size() - header.pixels_at) {
        fail("BMP picture: {} rows of {} bytes from byte {} on, but the file has {} bytes",
             header.height, header.row_bytes(), header.pixels_at, bytes.size());
    }
    Decoded decoded;
    decoded.raster = make_raster(header.width, header.height, mode);
    if (mode == Mode::kPalette) {
        read_palette(bytes, header, decoded.raster);
    }
    for (int y = 0; y < decoded.raster.height; ++y) {
        const int from_y = header.top_down ? y : decoded.raster.height - 1 - y;
        read_row(bytes.data() + header.pixels_at + header.row_bytes() * from_y, header.depth,
                 decoded.raster, decoded.raster.row(y));
    }
    return decoded;
}

}  // namespace flux::data
