#include "flux/data/image_decode.h"

#include <libexif/exif-data.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "data/decoders.h"
#include "flux/base/error.h"

namespace flux::data {
namespace {

bool begins(std::span<const uint8_t> bytes, std::string_view magic, size_t offset = 0) {
    return bytes.size() >= offset + magic.size() &&
           std::equal(magic.begin(), magic.end(), bytes.begin() + offset,
                      [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
}

/// Orientations as (mirrored left-right first, then quarter turns clockwise).
struct Turn {
    bool mirrored;
    int quarters;
};

Turn turn_of(int orientation) {
    switch (orientation) {
        case 2:
            return {true, 0};
        case 3:
            return {false, 2};
        case 4:
            return {true, 2};
        case 5:
            return {true, 3};
        case 6:
            return {false, 1};
        case 7:
            return {true, 1};
        case 8:
            return {false, 3};
        default:
            return {false, 0};
    }
}

Raster upright(Raster from, int orientation) {
    const Turn turn = turn_of(orientation);
    if (!turn.mirrored && turn.quarters == 0) {
        return from;
    }
    const bool swapped = turn.quarters % 2 == 1;
    Raster to = make_raster(swapped ? from.height : from.width, swapped ? from.width : from.height,
                            from.mode);
    to.palette = from.palette;
    const int step = bytes_per_pixel(from.mode);
    for (int y = 0; y < from.height; ++y) {
        for (int x = 0; x < from.width; ++x) {
            const int mirrored_x = turn.mirrored ? from.width - 1 - x : x;
            int to_x = mirrored_x;
            int to_y = y;
            if (turn.quarters == 1) {
                to_x = from.height - 1 - y;
                to_y = mirrored_x;
            } else if (turn.quarters == 2) {
                to_x = from.width - 1 - mirrored_x;
                to_y = from.height - 1 - y;
            } else if (turn.quarters == 3) {
                to_x = y;
                to_y = from.width - 1 - mirrored_x;
            }
            std::copy_n(from.row(y) + size_t(x) * step, step, to.row(to_y) + size_t(to_x) * step);
        }
    }
    return to;
}

/// The beginning of a file that is no picture, made printable.
std::string excerpt(std::span<const uint8_t> bytes) {
    std::string text;
    for (const uint8_t byte : bytes.first(std::min<size_t>(bytes.size(), 16))) {
        text += byte >= 0x20 && byte < 0x7F ? static_cast<char>(byte) : '.';
    }
    return text;
}

}  // namespace

ImageFormat image_format(std::span<const uint8_t> bytes) {
    if (begins(bytes, "\xFF\xD8\xFF")) {
        return ImageFormat::kJpeg;
    }
    if (begins(bytes, "\x89PNG\r\n\x1A\n")) {
        return ImageFormat::kPng;
    }
    if (begins(bytes, "RIFF") && begins(bytes, "WEBP", 8)) {
        return ImageFormat::kWebp;
    }
    if (begins(bytes, "GIF87a") || begins(bytes, "GIF89a")) {
        return ImageFormat::kGif;
    }
    if (begins(bytes, "BM")) {
        return ImageFormat::kBmp;
    }
    return ImageFormat::kUnknown;
}

std::string_view format_name(ImageFormat format) {
    switch (format) {
        case ImageFormat::kJpeg:
            return "JPEG";
        case ImageFormat::kPng:
            return "PNG";
        case ImageFormat::kWebp:
            return "WebP";
        case ImageFormat::kGif:
            return "GIF";
        case ImageFormat::kBmp:
            return "BMP";
        case ImageFormat::kUnknown:
            break;
    }
    return "unknown";
}

void check_picture_size(std::string_view format, int64_t width, int64_t height,
                        int64_t max_pixels) {
    if (width <= 0 || height <= 0) {
        fail("{} picture of {} x {} pixels: both sides must be positive", format, width, height);
    }
    if (width > max_pixels / height) {
        fail("{} picture of {} x {} pixels: more than the limit of {}", format, width, height,
             max_pixels);
    }
}

Raster make_raster(int64_t width, int64_t height, Mode mode) {
    Raster raster{static_cast<int>(width), static_cast<int>(height), mode, {}, {}};
    raster.data.resize(raster.row_bytes() * raster.height);
    return raster;
}

int exif_orientation(std::span<const uint8_t> exif) {
    constexpr std::string_view kPrefix("Exif\0\0", 6);
    std::vector<uint8_t> prefixed;
    if (!begins(exif, kPrefix)) {
        prefixed.assign(kPrefix.begin(), kPrefix.end());
        prefixed.insert(prefixed.end(), exif.begin(), exif.end());
        exif = prefixed;
    }
    if (exif.size() < 14 || exif.size() > 0xFFFFFF) {
        return 1;
    }
    const std::unique_ptr<ExifData, decltype(&exif_data_unref)> data(exif_data_new(),
                                                                     exif_data_unref);
    if (!data) {
        return 1;
    }
    exif_data_unset_option(data.get(), EXIF_DATA_OPTION_FOLLOW_SPECIFICATION);
    exif_data_set_option(data.get(), EXIF_DATA_OPTION_DONT_CHANGE_MAKER_NOTE);
    exif_data_load_data(data.get(), exif.data(), static_cast<unsigned>(exif.size()));
    const ExifEntry* entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
    if (entry == nullptr || entry->format != EXIF_FORMAT_SHORT || entry->size < 2) {
        return 1;
    }
    const int value = exif_get_short(entry->data, exif_data_get_byte_order(data.get()));
    return value >= 1 && value <= 8 ? value : 1;
}

Raster decode_image(std::span<const uint8_t> bytes, int64_t max_pixels) {
    return decode_image(bytes, DecodeRules{.max_pixels = max_pixels});
}

Raster decode_image(std::span<const uint8_t> bytes, const DecodeRules& rules) {
    const int64_t max_pixels = rules.max_pixels;
    Decoded decoded;
    switch (image_format(bytes)) {
        case ImageFormat::kJpeg:
            decoded = decode_jpeg(bytes, max_pixels, rules.accept_truncated);
            break;
        case ImageFormat::kPng:
            decoded = decode_png(bytes, max_pixels);
            break;
        case ImageFormat::kWebp:
            decoded = decode_webp(bytes, max_pixels);
            break;
        case ImageFormat::kGif:
            decoded = decode_gif(bytes, max_pixels);
            break;
        case ImageFormat::kBmp:
            decoded = decode_bmp(bytes, max_pixels);
            break;
        case ImageFormat::kUnknown:
            if (bytes.empty()) {
                fail("the picture has no bytes");
            }
            fail("not a JPEG, PNG, WebP, GIF or BMP picture: {} bytes beginning with \"{}\"",
                 bytes.size(), excerpt(bytes));
    }
    return rules.upright ? upright(std::move(decoded.raster), decoded.orientation)
                         : std::move(decoded.raster);
}

}  // namespace flux::data
