// One decoder per picture format, for image_decode.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "flux/data/raster.h"

namespace flux::data {

struct Decoded {
    Raster raster;
    int orientation = 1;  // EXIF: 1 upright, 2 .. 8 mirrored and turned
};

Decoded decode_jpeg(std::span<const uint8_t> bytes, int64_t max_pixels, bool accept_truncated);
Decoded decode_png(std::span<const uint8_t> bytes, int64_t max_pixels);
Decoded decode_webp(std::span<const uint8_t> bytes, int64_t max_pixels);
Decoded decode_gif(std::span<const uint8_t> bytes, int64_t max_pixels);
Decoded decode_bmp(std::span<const uint8_t> bytes, int64_t max_pixels);

/// Orientation in a block of EXIF data, with or without its "Exif\0\0" in front; 1 if there is
/// none.
int exif_orientation(std::span<const uint8_t> exif);

/// Throws Error unless both sides are positive and the product within the limit.
void check_picture_size(std::string_view format, int64_t width, int64_t height, int64_t max_pixels);

/// A raster of this size, zero-filled.
Raster make_raster(int64_t width, int64_t height, Mode mode);

}  // namespace flux::data
