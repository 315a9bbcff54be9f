// Picture files to pixels: JPEG, PNG, WebP, GIF (first frame) and uncompressed BMP, recognised by
// content. The pixels are those the reference's Python stack gets (libjpeg-turbo defaults, EXIF
// orientation applied, colour profiles ignored).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "flux/data/raster.h"

namespace flux::data {

/// The default of training.max_image_pixels.
inline constexpr int64_t kMaxImagePixels = 933'120'000;
/// Above it the reference's tools refuse a picture.
inline constexpr int64_t kMaxToolPixels = 178'956'970;

enum class ImageFormat { kUnknown, kJpeg, kPng, kWebp, kGif, kBmp };

/// By the first bytes (16 are enough).
ImageFormat image_format(std::span<const uint8_t> bytes);
std::string_view format_name(ImageFormat format);

/// The picture, upright. A truncated JPEG is accepted: what is missing becomes grey. Throws Error
/// saying what is wrong; a picture of more than `max_pixels` is refused before memory is taken.
Raster decode_image(std::span<const uint8_t> bytes, int64_t max_pixels);

/// For tools that follow other rules than the training data.
struct DecodeRules {
    int64_t max_pixels = kMaxImagePixels;
    bool upright = true;           // EXIF orientation is applied
    bool accept_truncated = true;  // a truncated JPEG is accepted, not refused
};
Raster decode_image(std::span<const uint8_t> bytes, const DecodeRules& rules);

struct PictureSize {
    int width = 0;  // of the upright picture
    int height = 0;
};

/// Reads up to `out.size()` bytes at `offset` of a picture file; returns how many there were.
using ReadAt = std::function<size_t(uint64_t offset, std::span<uint8_t> out)>;

/// The size from the file's header, without decoding: that of the picture decode_image() gives,
/// save for a PNG whose EXIF data follows its pixels. Nothing if the header does not tell.
std::optional<PictureSize> probe_picture_size(const ReadAt& read_at);

}  // namespace flux::data
