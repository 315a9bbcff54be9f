// A weight of 23 bits does not fit the 16-bit multiply-add, so it is taken apart, weight = high *
// 2^11 + low, and both parts are summed on their own. All arithmetic is modulo 2^32 and the total
// fits, so the sum is exact. Four rows share the weights of an output pixel.
#include "data/resize_avx2.h"

#include <algorithm>
#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace flux::data {

#if defined(__x86_64__)
namespace {

constexpr int kLowBits = 11;
constexpr int kGroup = 4;  // source pixels a step
constexpr int kRows = 4;
constexpr size_t kPadding = 32;  // bytes that loads may reach beyond a row

/// For each step of four taps: the high parts, then the low parts, in the order of the loads.
struct GroupWeights {
    std::array<int16_t, 16> high;
    std::array<int16_t, 16> low;
};

struct GroupedTaps {
    std::vector<GroupWeights> weights;
    std::vector<int> begin;  // by output pixel, one more than there are
};

GroupedTaps group_taps(const Taps& taps) {
    GroupedTaps grouped;
    for (size_t x = 0; x < taps.ranges.size(); ++x) {
        grouped.begin.push_back(static_cast<int>(grouped.weights.size()));
        const int count = taps.ranges[x].count;
        const int32_t* fixed = taps.fixed_of(static_cast<int>(x));
        for (int tap = 0; tap < count; tap += kGroup) {
            GroupWeights group{};
            for (int i = 0; i < 16; ++i) {
                const int at = tap + i / 8 * 2 + i % 2;  // lanes hold taps 0 1 and 2 3
                const int32_t weight = at < count ? fixed[at] : 0;
                group.high[i] = static_cast<int16_t>(weight >> kLowBits);
                group.low[i] = static_cast<int16_t>(weight & ((1 << kLowBits) - 1));
            }
            grouped.weights.push_back(group);
        }
    }
    grouped.begin.push_back(static_cast<int>(grouped.weights.size()));
    return grouped;
}

/// Shuffle that brings the two pixels of a lane beside each other, channel by channel, as 16 bits.
template <int kChannels>
std::array<int8_t, 32> pairing() {
    std::array<int8_t, 32> mask;
    mask.fill(-1);
    for (int lane = 0; lane < 2; ++lane) {
        for (int channel = 0; channel < kChannels; ++channel) {
            for (int pixel = 0; pixel < 2; ++pixel) {
                mask[lane * 16 + channel * 4 + pixel * 2] =
                    static_cast<int8_t>((lane * 2 + pixel) * kChannels + channel);
            }
        }
    }
    return mask;
}

template <int kChannels>
__attribute__((target("avx2"))) void filter_four_rows(const std::array<const uint8_t*, kRows>& rows,
                                                      const Taps& taps, const GroupedTaps& grouped,
                                                      const std::array<uint8_t*, kRows>& out) {
    const auto mask_bytes = pairing<kChannels>();
    const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask_bytes.data()));
    const __m128i half = _mm_set1_epi32(1 << (kPrecisionBits - 1));
    for (size_t x = 0; x < taps.ranges.size(); ++x) {
        size_t offset = size_t(taps.ranges[x].first) * kChannels;
        __m256i high[kRows], low[kRows];
        for (int r = 0; r < kRows; ++r) {
            high[r] = low[r] = _mm256_setzero_si256();
        }
        for (int g = grouped.begin[x]; g < grouped.begin[x + 1]; ++g) {
            const GroupWeights& group = grouped.weights[g];
            const auto* parts = reinterpret_cast<const __m256i*>(group.high.data());
            const __m256i high_weights = _mm256_loadu_si256(parts);
            const __m256i low_weights = _mm256_loadu_si256(parts + 1);
            for (int r = 0; r < kRows; ++r) {
                const __m128i bytes =
                    _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r] + offset));
                const __m256i pixels =
                    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), mask);
                high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pixels, high_weights));
                low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pixels, low_weights));
            }
            offset += size_t{kGroup} * kChannels;
        }
        for (int r = 0; r < kRows; ++r) {
            const __m256i lanes = _mm256_add_epi32(_mm256_slli_epi32(high[r], kLowBits), low[r]);
            const __m128i sums = _mm_add_epi32(
                half,
                _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1)));
            const __m128i values = _mm_srai_epi32(sums, kPrecisionBits);
            const __m128i words = _mm_packs_epi32(values, values);
            const int pixel = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
            std::memcpy(out[r] + x * kChannels, &pixel, kChannels);
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
        filter_four_rows<kChannels>(rows, taps, grouped, to);
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
