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

/// The tanh form of GELU is x sigmoid(2 w) with w = sqrt(2 / pi) (x + 0.044715 x^3). This is -2 w.
FLUX_HOST_DEVICE inline float gelu_exponent(float x) {
    return -2.0f * kGeluSlope * (x + kGeluCube * x * x * x);
}

/// Its derivative; s: that sigmoid.
FLUX_HOST_DEVICE inline float gelu_derivative(float x, float s) {
    const float inner = 2.0f * kGeluSlope * (1.0f + 3.0f * kGeluCube * x * x);
    return s + x * s * (1.0f - s) * inner;
}

}  // namespace
}  // namespace flux::kernels
