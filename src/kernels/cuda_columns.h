// CUDA bodies without sums over a row: the gated residual and GELU. A thread owns some neighbouring
// columns of a chunk of rows, so that its loads lie beside its neighbours' and it keeps the sums of
// its columns in registers. Several rows are loaded before the first is used.
#pragma once

#include "kernels/cuda_rows.h"

namespace flux::kernels {
namespace {

constexpr int kColumnThreads = 128;

/// Blocks tile the columns of a chunk, then come the next chunk's.
struct ColumnPlace {
    __device__ ColumnPlace(const Rows& all, int64_t channels, int per_thread)
        : ColumnPlace(all, channels, per_thread,
                      (channels + int64_t{blockDim.x} * per_thread - 1) /
                          (int64_t{blockDim.x} * per_thread)) {}

    int64_t chunk;
    int64_t column;
    bool inside;
    ChunkRows rows;

private:
    __device__ ColumnPlace(const Rows& all, int64_t channels, int per_thread, int64_t tiles)
        : chunk(blockIdx.x / tiles),
          column((blockIdx.x % tiles * blockDim.x + threadIdx.x) * per_thread),
          inside(column < channels),
          rows(all, chunk) {}
};

/// body(row, numbers of a, numbers of b) for some rows; `b` is read only if kInputs is 2.
template <int kVec, int kInputs, class T, class Body>
__device__ void for_rows(int64_t count, const T* a, int64_t a_stride, const T* b, int64_t b_stride,
                         const Body& body) {
    constexpr int kAtOnce = 4;
    for (int64_t first = 0; first < count; first += kAtOnce) {
        Pack<T, kVec> packs[kAtOnce][2] = {};
        FLUX_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
            if (first + i < count) {
                packs[i][0] = load<kVec>(a + (first + i) * a_stride);
                if constexpr (kInputs == 2) {
                    packs[i][1] = load<kVec>(b + (first + i) * b_stride);
                }
            }
        }
        FLUX_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
            if (first + i < count) {
                float x[kVec], y[kVec];
                unpack(packs[i][0], x);
                unpack(packs[i][1], y);
                body(first + i, x, y);
            }
        }
    }
}

template <class T, int kVec>
__global__ void __launch_bounds__(kColumnThreads) gated_residual_kernel(GatedResidualJob job) {
    const ColumnPlace place(job.rows, job.channels, kVec);
    if (!place.inside) {
        return;
    }
    const ChunkRows& rows = place.rows;
    float gate[kVec], bias[kVec];
    unpack(load_anywhere<kVec>(at<T>(job.gate, rows.picture * job.gate_stride + place.column)),
           gate);
    unpack(load_anywhere<kVec>(at<T>(job.bias, place.column)), bias);
    const int64_t begin =
        (rows.picture * job.rows.tokens + rows.first) * job.channels + place.column;
    T* const out = at<T>(job.out, begin);
    for_rows<kVec, 2>(rows.last - rows.first, at<T>(job.x, begin), job.channels,
                      at<T>(job.y, begin), job.channels,
                      [&](int64_t row, float(&x)[kVec], const float(&y)[kVec]) {
                          FLUX_UNROLL
                          for (int i = 0; i < kVec; ++i) {
                              x[i] += gate[i] * (y[i] + bias[i]);
                          }
                          store(out + row * job.channels, x);
                      });
}

template <class T, int kVec>
__global__ void __launch_bounds__(kColumnThreads)
    gated_residual_backward_kernel(GatedResidualJob job) {
    const ColumnPlace place(job.rows, job.channels, kVec);
    if (!place.inside) {
        return;
    }
    const ChunkRows& rows = place.rows;
    float gate[kVec], bias[kVec], gate_sum[kVec] = {}, out_sum[kVec] = {};
    unpack(load_anywhere<kVec>(at<T>(job.gate, rows.picture * job.gate_stride + place.column)),
           gate);
    unpack(load_anywhere<kVec>(at<T>(job.bias, place.column)), bias);
    const int64_t begin =
        (rows.picture * job.rows.tokens + rows.first) * job.channels + place.column;
    T* const dy = at<T>(job.dy, begin);
    for_rows<kVec, 2>(rows.last - rows.first, at<T>(job.dout, begin), job.channels,
                      at<T>(job.y, begin), job.channels,
                      [&](int64_t row, float(&d)[kVec], const float(&y)[kVec]) {
                          FLUX_UNROLL
                          for (int i = 0; i < kVec; ++i) {
                              gate_sum[i] += d[i] * (y[i] + bias[i]);
                              out_sum[i] += d[i];
                              d[i] *= gate[i];
                          }
                          store(dy + row * job.channels, d);
                      });
    float* const sums = job.sums + place.chunk * 2 * job.channels + place.column;
    store(sums, gate_sum);
    store(sums + job.channels, out_sum);
}

__device__ inline float gelu_sigmoid(float x) {
    return __fdividef(1.0f, 1.0f + __expf(gelu_exponent(x)));
}

template <class T, int kVec>
__global__ void __launch_bounds__(kColumnThreads) gelu_kernel(GeluJob job) {
    const ColumnPlace place(job.rows, job.channels, kVec);
    if (!place.inside) {
        return;
    }
    const ChunkRows& rows = place.rows;
    float bias[kVec];
    unpack(load_anywhere<kVec>(at<T>(job.bias, place.column)), bias);
    const int64_t first = rows.picture * job.rows.tokens + rows.first;
    T* const y = at<T>(job.y, first * job.channels + place.column);
    for_rows<kVec, 1, T>(rows.last - rows.first, at<T>(job.u, first * job.stride + place.column),
                         job.stride, nullptr, 0,
                         [&](int64_t row, float(&u)[kVec], const float(&)[kVec]) {
                             FLUX_UNROLL
                             for (int i = 0; i < kVec; ++i) {
                                 const float x = u[i] + bias[i];
                                 u[i] = x * gelu_sigmoid(x);
                             }
                             store(y + row * job.channels, u);
                         });
}

template <class T, int kVec>
__global__ void __launch_bounds__(kColumnThreads) gelu_backward_kernel(GeluJob job) {
    const ColumnPlace place(job.rows, job.channels, kVec);
    if (!place.inside) {
        return;
    }
    const ChunkRows& rows = place.rows;
    float bias[kVec], sum[kVec] = {};
    unpack(load_anywhere<kVec>(at<T>(job.bias, place.column)), bias);
    const int64_t first = rows.picture * job.rows.tokens + rows.first;
    T* const du = at<T>(job.du, first * job.stride + place.column);
    for_rows<kVec, 2>(rows.last - rows.first, at<T>(job.u, first * job.stride + place.column),
                      job.stride, at<T>(job.dy, first * job.channels + place.column), job.channels,
                      [&](int64_t row, float(&u)[kVec], const float(&dy)[kVec]) {
                          FLUX_UNROLL
                          for (int i = 0; i < kVec; ++i) {
                              const float x = u[i] + bias[i];
                              u[i] = dy[i] * gelu_derivative(x, gelu_sigmoid(x));
                              sum[i] += u[i];
                          }
                          store(du + row * job.stride, u);
                      });
    store(job.sums + place.chunk * job.channels + place.column, sum);
}

/// For channels in vectors of `per_thread`.
template <class Job>
int launch_columns(void (*kernel)(Job), int per_thread, const Job& job, void* stream) {
    const int64_t threads =
        round_up((job.channels + per_thread - 1) / per_thread, kWarp) < kColumnThreads
            ? round_up((job.channels + per_thread - 1) / per_thread, kWarp)
            : kColumnThreads;
    const int64_t tiles = (job.channels + threads * per_thread - 1) / (threads * per_thread);
    return launch(kernel, job.rows.chunks() * tiles, static_cast<int>(threads), job, stream);
}

template <class T>
int gated_residual(const GatedResidualJob& job, void* stream) {
    const int64_t channels = job.channels;
    const bool wide = is_wide<T>(job.x, channels, channels) &&
                      is_wide<T>(job.y, channels, channels) &&
                      is_wide<T>(job.out, channels, channels);
    return wide ? launch_columns(gated_residual_kernel<T, kWide<T>>, kWide<T>, job, stream)
                : launch_columns(gated_residual_kernel<T, 1>, 1, job, stream);
}

template <class T>
int gated_residual_backward(const GatedResidualJob& job, void* stream) {
    const int64_t channels = job.channels;
    const bool wide = is_wide<T>(job.dout, channels, channels) &&
                      is_wide<T>(job.y, channels, channels) &&
                      is_wide<T>(job.dy, channels, channels);
    return wide ? launch_columns(gated_residual_backward_kernel<T, kWide<T>>, kWide<T>, job, stream)
                : launch_columns(gated_residual_backward_kernel<T, 1>, 1, job, stream);
}

template <class T>
int gelu(const GeluJob& job, void* stream) {
    const bool wide = is_wide<T>(job.u, job.channels, job.stride) &&
                      is_wide<T>(job.y, job.channels, job.channels);
    return wide ? launch_columns(gelu_kernel<T, kWide<T>>, kWide<T>, job, stream)
                : launch_columns(gelu_kernel<T, 1>, 1, job, stream);
}

template <class T>
int gelu_backward(const GeluJob& job, void* stream) {
    const bool wide = is_wide<T>(job.u, job.channels, job.stride) &&
                      is_wide<T>(job.du, job.channels, job.stride) &&
                      is_wide<T>(job.dy, job.channels, job.channels);
    return wide ? launch_columns(gelu_backward_kernel<T, kWide<T>>, kWide<T>, job, stream)
                : launch_columns(gelu_backward_kernel<T, 1>, 1, job, stream);
}

}  // namespace
}  // namespace flux::kernels
