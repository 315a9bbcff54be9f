// Numbers as the bodies of row_kernels.h read and write them on CPUs. Included by those bodies
// alone, and so private to each of their files: std::bit_cast would be a function of the linker's.
#pragma once

#include <cstdint>

#include "kernels/row_common.h"

namespace flux::kernels {
namespace {

inline float value(float x) { return x; }
inline float value(Bf16 x) {
    return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16);
}

inline void put(float& to, float x) { to = x; }
inline void put(Bf16& to, float x) {  // to nearest, ties to even
    const auto bits = __builtin_bit_cast(uint32_t, x);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    to.bits = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

/// e^x within 2 ulp on [-87, 88], beyond it the value at the end: a power of two times a polynomial
/// on [-ln 2 / 2, ln 2 / 2] (Taylor's, whose next term is below 1e-8).
inline float exponential(float x) {
    constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float n = (x * kLog2e + kRound) - kRound;
    const float r = (x - n * kLn2High) - n * kLn2Low;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * __builtin_bit_cast(float, (static_cast<int32_t>(n) + 127) << 23);
}

}  // namespace
}  // namespace flux::kernels
