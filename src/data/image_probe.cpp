// Picture sizes from file headers, for indexes: a few hundred bytes are read, nothing is decoded.
// As the decoders do, the EXIF orientation is asked: a picture that is turned has its sides
// swapped.
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "data/decoders.h"
#include "flux/data/image_decode.h"

namespace flux::data {
namespace {

constexpr size_t kHeadBytes = 32;
constexpr uint64_t kMaxHeaderBytes = 64 << 20;  // markers before a JPEG's size: profiles, previews

uint32_t big_endian(const uint8_t* bytes, int size) {
    uint32_t value = 0;
    for (int i = 0; i < size; ++i) {
        value = value << 8 | bytes[i];
    }
    return value;
}

uint32_t little_endian(const uint8_t* bytes, int size) {
    uint32_t value = 0;
    for (int i = size; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

std::optional<PictureSize> size_of(int64_t width, int64_t height) {
    constexpr int64_t kLimit = 1 << 30;
    if (width <= 0 || height <= 0 || width > kLimit || height > kLimit) {
        return std::nullopt;
    }
    return PictureSize{static_cast<int>(width), static_cast<int>(height)};
}

/// The size as the picture is seen; orientations from 5 on lie on their side.
std::optional<PictureSize> upright(std::optional<PictureSize> size, int orientation) {
    if (size && orientation >= 5) {
        std::swap(size->width, size->height);
    }
    return size;
}

/// Of `size` bytes of EXIF data; 1 for what is too large to be any.
int read_orientation(const ReadAt& read_at, uint64_t offset, uint64_t size) {
    constexpr uint64_t kMaxExifBytes = 1 << 20;
    std::vector<uint8_t> exif(size <= kMaxExifBytes ? size : 0);
    exif.resize(read_at(offset, exif));
    return exif_orientation(exif);
}

bool begins_exif(const ReadAt& read_at, uint64_t offset) {
    std::array<uint8_t, 4> name{};
    return read_at(offset, name) == name.size() &&
           std::string_view(reinterpret_cast<const char*>(name.data()), name.size()) == "Exif";
}

bool is_start_of_frame(uint8_t marker) {
    return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

/// EXIF data stands before the size.
std::optional<PictureSize> probe_jpeg(const ReadAt& read_at) {
    constexpr uint8_t kApp1 = 0xE1;
    uint64_t offset = 2;
    int orientation = 0;  // of the first EXIF segment; 0: none yet
    while (offset < kMaxHeaderBytes) {
        std::array<uint8_t, 9> segment{};
        const size_t count = read_at(offset, segment);
        if (count < 4 || segment[0] != 0xFF) {
            return std::nullopt;
        }
        if (segment[1] == 0xFF) {  // fill byte
            ++offset;
            continue;
        }
        if (is_start_of_frame(segment[1])) {
            if (count < segment.size()) {
                return std::nullopt;
            }
            return upright(size_of(big_endian(&segment[7], 2), big_endian(&segment[5], 2)),
                           orientation);
        }
        if (segment[1] == 0xD9 || segment[1] == 0xDA) {  // end, or pixels, before any size
            return std::nullopt;
        }
        const bool stands_alone = segment[1] == 0x01 || (segment[1] >= 0xD0 && segment[1] <= 0xD8);
        const uint32_t size = stands_alone ? 0 : big_endian(&segment[2], 2);
        if (segment[1] == kApp1 && orientation == 0 && size > 8 &&
            begins_exif(read_at, offset + 4)) {
            orientation = read_orientation(read_at, offset + 4, size - 2);
        }
        offset += 2 + size;
    }
    return std::nullopt;
}

/// EXIF data after the pixels is not looked for: it would cost a walk over all of them, and the
/// sides of such a picture are only as stored.
std::optional<PictureSize> probe_png(const ReadAt& read_at, std::span<const uint8_t> head) {
    const auto size = size_of(big_endian(&head[16], 4), big_endian(&head[20], 4));
    uint64_t offset = 8;
    std::array<uint8_t, 8> chunk{};  // length and kind, before the data; a checksum after it
    while (offset < kMaxHeaderBytes && read_at(offset, chunk) == chunk.size()) {
        const uint32_t length = big_endian(chunk.data(), 4);
        const std::string_view kind(reinterpret_cast<const char*>(&chunk[4]), 4);
        if (kind == "eXIf") {
            return upright(size, read_orientation(read_at, offset + 8, length));
        }
        if (kind == "IDAT" || kind == "IEND") {
            break;
        }
        offset += uint64_t{length} + 12;
    }
    return size;
}

/// Of the chunk EXIF, which stands after the pixels.
int webp_orientation(const ReadAt& read_at, std::span<const uint8_t> head) {
    constexpr int kMaxChunks = 10'000;  // an animation has one a frame
    const uint64_t end = uint64_t{little_endian(&head[4], 4)} + 8;
    uint64_t offset = 12;
    std::array<uint8_t, 8> chunk{};  // kind and length
    for (int i = 0; i < kMaxChunks && offset < end && read_at(offset, chunk) == chunk.size(); ++i) {
        const uint32_t length = little_endian(&chunk[4], 4);
        if (std::string_view(reinterpret_cast<const char*>(chunk.data()), 4) == "EXIF") {
            return read_orientation(read_at, offset + 8, length);
        }
        offset += uint64_t{length} + length % 2 + 8;
    }
    return 1;
}

std::optional<PictureSize> probe_webp(const ReadAt& read_at, std::span<const uint8_t> head) {
    constexpr uint8_t kHasExif = 0x08;
    const std::string_view kind(reinterpret_cast<const char*>(head.data()) + 12, 4);
    const uint8_t* data = head.data() + 20;
    if (kind == "VP8X") {
        return upright(size_of(little_endian(data + 4, 3) + 1, little_endian(data + 7, 3) + 1),
                       (data[0] & kHasExif) != 0 ? webp_orientation(read_at, head) : 1);
    }
    if (kind == "VP8L") {
        const uint32_t bits = little_endian(data + 1, 4);
        return size_of((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1);
    }
    if (kind == "VP8 ") {
        return size_of(little_endian(data + 6, 2) & 0x3FFF, little_endian(data + 8, 2) & 0x3FFF);
    }
    return std::nullopt;
}

std::optional<PictureSize> probe_bmp(std::span<const uint8_t> head) {
    if (little_endian(&head[14], 4) == 12) {
        return size_of(little_endian(&head[18], 2), little_endian(&head[20], 2));
    }
    const int64_t height = static_cast<int32_t>(little_endian(&head[22], 4));
    return size_of(static_cast<int32_t>(little_endian(&head[18], 4)), std::abs(height));
}

}  // namespace

std::optional<PictureSize> probe_picture_size(const ReadAt& read_at) {
    std::array<uint8_t, kHeadBytes> head{};
    if (read_at(0, head) < head.size()) {
        return std::nullopt;
    }
    switch (image_format(head)) {
        case ImageFormat::kJpeg:
            return probe_jpeg(read_at);
        case ImageFormat::kPng:
            return probe_png(read_at, head);
        case ImageFormat::kWebp:
            return probe_webp(read_at, head);
        case ImageFormat::kGif:
            return size_of(little_endian(&head[6], 2), little_endian(&head[8], 2));
        case ImageFormat::kBmp:
            return probe_bmp(head);
        case ImageFormat::kUnknown:
            break;
    }
    return std::nullopt;
}

}  // namespace flux::data
