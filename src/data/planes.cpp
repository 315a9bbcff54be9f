// Sixteen pixels a step where the processor can shuffle bytes, the rest one by one.
#include "data/planes.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <array>
#endif

namespace flux::data {
namespace {

#if defined(__x86_64__)
constexpr size_t kStep = 16;  // pixels

/// Shuffle that brings a channel's bytes of the `part`-th 16 of 48 bytes to their places.
constexpr std::array<int8_t, 16> gather(int channel, int part) {
    std::array<int8_t, 16> mask{};
    for (int pixel = 0; pixel < 16; ++pixel) {
        const int at = 3 * pixel + channel - 16 * part;
        mask[static_cast<size_t>(pixel)] = static_cast<int8_t>(at >= 0 && at < 16 ? at : -1);
    }
    return mask;
}

constexpr std::array<std::array<int8_t, 16>, 9> kGather{gather(0, 0), gather(0, 1), gather(0, 2),
                                                        gather(1, 0), gather(1, 1), gather(1, 2),
                                                        gather(2, 0), gather(2, 1), gather(2, 2)};

/// Returns how many pixels it has stored.
__attribute__((target("ssse3"))) size_t whole_steps(const uint8_t* rgb, size_t pixels,
                                                    uint8_t* planes) {
    size_t i = 0;
    for (; i + kStep <= pixels; i += kStep) {
        __m128i parts[3];
        for (size_t part = 0; part < 3; ++part) {
            parts[part] =
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(rgb + 3 * i + 16 * part));
        }
        for (size_t channel = 0; channel < 3; ++channel) {
            __m128i plane = _mm_setzero_si128();
            for (size_t part = 0; part < 3; ++part) {
                const auto* mask =
                    reinterpret_cast<const __m128i*>(kGather[3 * channel + part].data());
                plane = _mm_or_si128(plane, _mm_shuffle_epi8(parts[part], _mm_loadu_si128(mask)));
            }
            _mm_storeu_si128(reinterpret_cast<__m128i*>(planes + channel * pixels + i), plane);
        }
    }
    return i;
}
#endif

}  // namespace

void to_planes(const uint8_t* rgb, size_t pixels, uint8_t* planes) {
    size_t i = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("ssse3")) {
        i = whole_steps(rgb, pixels, planes);
    }
#endif
    for (; i < pixels; ++i) {
        for (size_t channel = 0; channel < 3; ++channel) {
            planes[channel * pixels + i] = rgb[3 * i + channel];
        }
    }
}

}  // namespace flux::data
