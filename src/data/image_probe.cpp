// Picture sizes from file headers, for indexes: a few hundred bytes are read, nothing is decoded.
#include <array>
#include <vector>

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

bool is_start_of_frame(uint8_t marker) {
    return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

std::optional<PictureSize> probe_jpeg(const ReadAt& read_at) {
    uint64_t offset = 2;
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
            return size_of(big_endian(&segment[7], 2), big_endian(&segment[5], 2));
        }
        if (segment[1] == 0xD9 || segment[1] == 0xDA) {  // end, or pixels, before any size
            return std::nullopt;
        }
        const bool stands_alone = segment[1] == 0x01 || (segment[1] >= 0xD0 && segment[1] <= 0xD8);
        offset += stands_alone ? 2 : 2 + big_endian(&segment[2], 2);
    }
    return std::nullopt;
}

std::optional<PictureSize> probe_webp(std::span<const uint8_t> head) {
    const std::string_view kind(reinterpret_cast<const char*>(head.data()) + 12, 4);
    const uint8_t* data = head.data() + 20;
    if (kind == "VP8X") {
        return size_of(little_endian(data + 4, 3) + 1, little_endian(data + 7, 3) + 1);
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
            return size_of(big_endian(&head[16], 4), big_endian(&head[20], 4));
        case ImageFormat::kWebp:
            return probe_webp(head);
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
