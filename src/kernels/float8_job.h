// Casts to FP8 as raw pointers: what the CUDA bodies in cuda_float8.h and cuda_float8_columns.h are
// given. There are none for CPUs, which compute in FP8 for tests alone.
#pragma once

#include <cstdint>

#include "kernels/row_kernels.h"

namespace flux::kernels {

/// Matrices of fp32 or bf16 numbers, one row after the other. R rows are the tokens of one picture.
struct Float8Job {
    static constexpr const char* kName = "float8_cast";
    Rows rows;
    int64_t channels;
    const void* x;           // [R, channels]
    int64_t other_channels;  // of what stands beside x: in `rows` alone, else 0
    const void* other;
    uint32_t* largest;  // bits of magnitudes, which are ordered like them: of everything, or of
                        // each column; null in `rows` if each row finds its own
    bool of_columns;    // one of each
    uint8_t* out;       // rows `stride` bytes apart; transposed, `stride` is R filled up
    int64_t stride;
    float* inverse;  // like the magnitudes
    bool e5m2;       // else e4m3
    bool powers;     // factors are rounded down to a power of two
};

struct Float8Kernels {
    CudaRowKernel<Float8Job> largest;             // raises `largest`, which begins at 0
    CudaRowKernel<Float8Job> largest_of_columns;  // the same for each column
    CudaRowKernel<Float8Job> rows;                // casts
    CudaRowKernel<Float8Job> columns;             // casts and transposes
    CudaRowKernel<Float8Job> transpose;           // x is in FP8
};

#ifdef FLUX_WITH_CUDA
extern const KernelSet<Float8Kernels> kFloat8KernelsCuda;
#endif

}  // namespace flux::kernels
