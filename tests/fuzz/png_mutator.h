// Mutates PNG files so that they get past the checks that a blind change nearly always fails: the
// checksum of every chunk is mended, and now and then the change is made to the unpacked pixels,
// filter bytes and all.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace flux::fuzz {

using Bytes = std::vector<uint8_t>;

constexpr std::string_view kPngMagic("\x89PNG\r\n\x1A\n", 8);
constexpr size_t kChunkFrame = 12;  // length, name, checksum
constexpr size_t kMostUnpacked = 1 << 18;

inline bool is_png(const uint8_t* data, size_t size) {
    return size >= kPngMagic.size() && std::memcmp(data, kPngMagic.data(), kPngMagic.size()) == 0;
}

inline uint32_t big_endian(const uint8_t* at) {
    return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3];
}

inline void put_big_endian(uint32_t value, uint8_t* at) {
    for (int i = 0; i < 4; ++i) {
        at[i] = static_cast<uint8_t>(value >> (24 - 8 * i));
    }
}

/// Calls take(chunk, body size) for every chunk that lies in the file as a whole.
template <class Take>
void each_chunk(uint8_t* data, size_t size, Take take) {
    size_t at = kPngMagic.size();
    while (at + kChunkFrame <= size) {
        const size_t body = big_endian(data + at);
        if (body > size - at - kChunkFrame) {
            return;
        }
        take(data + at, body);
        at += kChunkFrame + body;
    }
}

inline void mend_checksums(uint8_t* data, size_t size) {
    each_chunk(data, size, [](uint8_t* chunk, size_t body) {
        const uLong sum = ::crc32(0, chunk + 4, static_cast<uInt>(body + 4));
        put_big_endian(static_cast<uint32_t>(sum), chunk + 8 + body);
    });
}

/// As far as the stream goes; nothing if none of it can be unpacked.
inline Bytes unpack(const Bytes& packed) {
    Bytes out(kMostUnpacked);
    z_stream stream{};
    if (::inflateInit(&stream) != Z_OK) {
        return {};
    }
    stream.next_in = const_cast<Bytef*>(packed.data());
    stream.avail_in = static_cast<uInt>(packed.size());
    stream.next_out = out.data();
    stream.avail_out = static_cast<uInt>(out.size());
    ::inflate(&stream, Z_FINISH);
    out.resize(stream.total_out);
    ::inflateEnd(&stream);
    return out;
}

/// The file with its pixel bytes mutated, or nothing if it has none or would grow too large.
inline std::optional<Bytes> mutate_pixels(uint8_t* data, size_t size, size_t max_size) {
    Bytes packed;
    each_chunk(data, size, [&](const uint8_t* chunk, size_t body) {
        if (std::memcmp(chunk + 4, "IDAT", 4) == 0) {
            packed.insert(packed.end(), chunk + 8, chunk + 8 + body);
        }
    });
    Bytes pixels = unpack(packed);
    if (pixels.empty()) {
        return std::nullopt;
    }
    const size_t count = pixels.size();
    pixels.resize(count + 64);
    pixels.resize(LLVMFuzzerMutate(pixels.data(), count, pixels.size()));
    uLongf length = ::compressBound(pixels.size());
    packed.resize(length);
    ::compress2(packed.data(), &length, pixels.data(), pixels.size(), 1);
    packed.resize(length);
    Bytes out(kPngMagic.begin(), kPngMagic.end());
    bool stored = false;
    each_chunk(data, size, [&](const uint8_t* chunk, size_t body) {
        if (std::memcmp(chunk + 4, "IDAT", 4) != 0) {
            out.insert(out.end(), chunk, chunk + kChunkFrame + body);
        } else if (!stored) {
            const size_t begin = out.size();
            out.resize(begin + kChunkFrame + length);
            put_big_endian(static_cast<uint32_t>(length), &out[begin]);
            std::memcpy(&out[begin + 4], "IDAT", 4);
            std::copy(packed.begin(), packed.end(), out.begin() + begin + 8);
            stored = true;
        }
    });
    return out.size() <= max_size ? std::optional(std::move(out)) : std::nullopt;
}

/// One mutation of any file; returns its new size.
inline size_t mutate_picture(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
    std::optional<Bytes> mutated;
    if (is_png(data, size) && seed % 2 == 0) {
        mutated = mutate_pixels(data, size, max_size);
    }
    if (mutated) {
        std::copy(mutated->begin(), mutated->end(), data);
        size = mutated->size();
    } else {
        size = LLVMFuzzerMutate(data, size, max_size);
    }
    if (is_png(data, size)) {
        mend_checksums(data, size);
    }
    return size;
}

}  // namespace flux::fuzz
