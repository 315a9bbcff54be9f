// A weight of 23 bits does not fit the 16-bit multiply-add, so it is taken apart, weight = high *
// 2^11 + low, and both parts are summed on their own. All arithmetic is modulo 2^32 and the total
// fits, so the sum is exact. Eight rows share the weights of an output pixel.
#include "data/resize_avx2.h"

#include <algorithm>
#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace flux::data {

#if defined(__x86_64__)
#define FLUX_AVX2 inline __attribute__((target("avx2"), always_inline))
namespace {

constexpr int kLowBits = 11;
constexpr int kGroup = 4;  // source pixels a step
constexpr int kVectors = 4;
constexpr int kRows = 2 * kVectors;  // one in each half of a vector
constexpr size_t kPadding = 32;      // bytes that loads may reach beyond a row

/// The parts of the weights of two neighbouring taps, as one multiply-add takes them.
struct PairWeights {
    std::array<int16_t, 2> high;
    std::array<int16_t, 2> low;
};

using GroupWeights = std::array<PairWeights, kGroup / 2>;

struct GroupedTaps {
    std::vector<GroupWeights> weights;
    std::vector<int> begin;  // by output pixel, one more than there are
};

GroupedTaps group_taps(const Taps& taps) {
    GroupedTaps grouped;
    grouped.begin.reserve(taps.ranges.size() + 1);
    grouped.weights.reserve(taps.ranges.size() * ((taps.max_count + kGroup - 1) / kGroup));
    for (size_t x = 0; x < taps.ranges.size(); ++x) {
        grouped.begin.push_back(static_cast<int>(grouped.weights.size()));
        const int count = taps.ranges[x].count;
        const int32_t* fixed = taps.fixed_of(static_cast<int>(x));
        for (int tap = 0; tap < count; tap += kGroup) {
            GroupWeights& group = grouped.weights.emplace_back();
            for (int i = 0; i < std::min(kGroup, count - tap); ++i) {
                PairWeights& pair = group[i / 2];
                pair.high[i % 2] = static_cast<int16_t>(fixed[tap + i] >> kLowBits);
                pair.low[i % 2] = static_cast<int16_t>(fixed[tap + i] & ((1 << kLowBits) - 1));
            }
        }
    }
    grouped.begin.push_back(static_cast<int>(grouped.weights.size()));
    return grouped;
}

/// Shuffle that brings pixels first and first + 1 of either half beside each other, channel by
/// channel, as 16 bits.
template <int kChannels>
std::array<int8_t, 32> pairing(int first) {
    std::array<int8_t, 32> mask;
    mask.fill(-1);
    for (int half = 0; half < 2; ++half) {
        for (int channel = 0; channel < kChannels; ++channel) {
            for (int pixel = 0; pixel < 2; ++pixel) {
                mask[half * 16 + channel * 4 + pixel * 2] =
                    static_cast<int8_t>((first + pixel) * kChannels + channel);
            }
        }
    }
    return mask;
}

FLUX_AVX2 __m256i load(const std::array<int8_t, 32>& bytes) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes.data()));
}

/// The same two parts for all lanes.
FLUX_AVX2 __m256i broadcast(const std::array<int16_t, 2>& parts) {
    int both;
    std::memcpy(&both, parts.data(), sizeof(both));
    return _mm256_set1_epi32(both);
}

FLUX_AVX2 __m256i load_halves(const uint8_t* first, const uint8_t* second) {
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(first))),
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(second)), 1);
}

/// One pixel of every row. The first halves hold the even rows, the second halves the odd ones.
template <int kBytes>
FLUX_AVX2 void store_pixels(const __m256i (&sums)[kVectors], const std::array<uint8_t*, kRows>& out,
                            size_t offset) {
    const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]),
                                              _mm256_packs_epi32(sums[2], sums[3]));
    const __m128i halves[] = {_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)};
    for (int half = 0; half < 2; ++half) {
        const int pixels[] = {
            _mm_extract_epi32(halves[half], 0), _mm_extract_epi32(halves[half], 1),
            _mm_extract_epi32(halves[half], 2), _mm_extract_epi32(halves[half], 3)};
        for (int v = 0; v < kVectors; ++v) {
            std::memcpy(out[2 * v + half] + offset, &pixels[v], kBytes);
        }
    }
}

template <int kChannels>
__attribute__((target("avx2"))) void filter_row_group(const std::array<const uint8_t*, kRows>& rows,
                                                      const Taps& taps, const GroupedTaps& grouped,
                                                      const std::array<uint8_t*, kRows>& out) {
    const __m256i masks[] = {load(pairing<kChannels>(0)), load(pairing<kChannels>(2))};
    const size_t out_bytes = taps.ranges.size() * kChannels;
    size_t to = 0;
    for (size_t x = 0; x < taps.ranges.size(); ++x, to += kChannels) {
        size_t offset = size_t(taps.ranges[x].first) * kChannels;
        __m256i high[kVectors], low[kVectors];
        for (int v = 0; v < kVectors; ++v) {
            high[v] = _mm256_setzero_si256();
            low[v] = _mm256_set1_epi32(1 << (kPrecisionBits - 1));
        }
        for (int g = grouped.begin[x]; g < grouped.begin[x + 1]; ++g) {
            const GroupWeights& group = grouped.weights[g];
            const __m256i high_weights[] = {broadcast(group[0].high), broadcast(group[1].high)};
            const __m256i low_weights[] = {broadcast(group[0].low), broadcast(group[1].low)};
            for (int v = 0; v < kVectors; ++v) {
                const __m256i bytes = load_halves(rows[2 * v] + offset, rows[2 * v + 1] + offset);
                for (int pair = 0; pair < kGroup / 2; ++pair) {
                    const __m256i pixels = _mm256_shuffle_epi8(bytes, masks[pair]);
                    high[v] =
                        _mm256_add_epi32(high[v], _mm256_madd_epi16(pixels, high_weights[pair]));
                    low[v] = _mm256_add_epi32(low[v], _mm256_madd_epi16(pixels, low_weights[pair]));
                }
            }
            offset += size_t{kGroup} * kChannels;
        }
        for (int v = 0; v < kVectors; ++v) {
            low[v] = _mm256_srai_epi32(
                _mm256_add_epi32(_mm256_slli_epi32(high[v], kLowBits), low[v]), kPrecisionBits);
        }
        if (to + 4 <= out_bytes) {  // whole words: the next pixels cover what is too much
            store_pixels<4>(low, out, to);
        } else {
            store_pixels<kChannels>(low, out, to);
        }
    }
}

template <int kChannels>
void filter_rows(const Raster& source, const Taps& taps, int first_row, Raster& out) {
    const GroupedTaps grouped = group_taps(taps);
    const size_t row_bytes = source.row_bytes();
    std::vector<uint8_t> padded(kRows * (row_bytes + kPadding));
    for (int y = 0; y < out.height; y += kRows) {
        std::array<const uint8_t*, kRows> rows;
        std::array<uint8_t*, kRows> to;
        for (int r = 0; r < kRows; ++r) {
            const int at = std::min(y + r, out.height - 1);  // the last row stands in for none
            rows[r] = source.row(first_row + at);
            to[r] = out.row(at);
            if (row_bytes * (first_row + at + 1) + kPadding > source.data.size()) {
                uint8_t* copy = &padded[r * (row_bytes + kPadding)];
                std::memcpy(copy, rows[r], row_bytes);
                rows[r] = copy;
            }
        }
        filter_row_group<kChannels>(rows, taps, grouped, to);
    }
}

}  // namespace

bool has_avx2() { return __builtin_cpu_supports("avx2"); }

void filter_rows_avx2(const Raster& source, const Taps& taps, int first_row, Raster& out) {
    switch (bytes_per_pixel(source.mode)) {
        case 1:
            return filter_rows<1>(source, taps, first_row, out);
        case 2:
            return filter_rows<2>(source, taps, first_row, out);
        case 3:
            return filter_rows<3>(source, taps, first_row, out);
        default:
            return filter_rows<4>(source, taps, first_row, out);
    }
}
#else
bool has_avx2() { return false; }

void filter_rows_avx2(const Raster&, const Taps&, int, Raster&) {}
#endif

}  // namespace flux::data
