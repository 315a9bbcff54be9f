// What the bodies of row_kernels.h share on CPUs and GPUs. Included by those bodies alone, and so
// private to each of their files.
#pragma once

#include <cstdint>

#include "kernels/row_kernels.h"

namespace flux::kernels {
namespace {

struct Bf16 {
    uint16_t bits;
};

/// Null where there is no data.
template <class T>
FLUX_HOST_DEVICE const T* at(const void* data, int64_t offset) {
    return data == nullptr ? nullptr : static_cast<const T*>(data) + offset;
}
template <class T>
FLUX_HOST_DEVICE T* at(void* data, int64_t offset) {
    return static_cast<T*>(data) + offset;
}

/// Rows of a chunk.
struct ChunkRows {
    FLUX_HOST_DEVICE ChunkRows(const Rows& rows, int64_t chunk)
        : picture(chunk / rows.chunks_of_one()),
          first(chunk % rows.chunks_of_one() * rows.chunk),
          last(first + rows.chunk < rows.tokens ? first + rows.chunk : rows.tokens) {}
    int64_t picture, first, last;
};

constexpr float kGeluSlope = 0.7978845608f;  // sqrt(2 / pi)
constexpr float kGeluCube = 0.044715f;

/// The tanh form of GELU is x s with s = 1 / (1 + e^v), v = -2 sqrt(2 / pi) (x + 0.044715 x^3).
/// This is v, at most 80: there s is 2e-35, and e^v finite.
FLUX_HOST_DEVICE inline float gelu_exponent(float x) {
    const float v = -2.0f * kGeluSlope * (x + kGeluCube * x * x * x);
    return v < 80.0f ? v : 80.0f;
}

/// Its derivative; power: e^v. 1 - s is taken as power * s, which keeps its digits where s is
/// almost 1.
FLUX_HOST_DEVICE inline float gelu_derivative(float x, float power, float s) {
    const float inner = 2.0f * kGeluSlope * (1.0f + 3.0f * kGeluCube * x * x);
    return s + x * inner * (power * s) * s;
}

}  // namespace
}  // namespace flux::kernels
