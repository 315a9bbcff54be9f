// CUDA bodies without sums over a row: the gated residual and GELU. A thread owns some neighbouring
// columns of a chunk of rows, so that its loads lie beside its neighbours' and it keeps the sums of
// its columns in registers. Several rows are loaded before the first is used.
#pragma once

#include "kernels/cuda_rows.h"

namespace flux::kernels {
namespace {

constexpr int kColumnThreads = 128;

/// A thread's columns, and the rows of its chunk. Blocks tile the columns of a chunk, then come the
/// next chunk's.
struct ColumnPlace {
    __device__ ColumnPlace(const Rows& all, int64_t channels, int per_thread)
        : ColumnPlace(all, channels, per_thread,
                      (channels + int64_t{blockDim.x} * per_thread - 1) /
                          (int64_t{blockDim.x} * per_thread)) {}

    /// Of the first row, in rows that are `stride` elements apart.
    template <class T>
    __device__ T* first_of(void* data, int64_t stride) const {
        return at<T>(data, row * stride + column);
    }
    template <class T>
    __device__ const T* first_of(const void* data, int64_t stride) const {
        return at<T>(data, row * stride + column);
    }

    int64_t chunk;
    int64_t column;
    bool inside;
    int64_t picture;
    int64_t row;  // the first, of all pictures'
    int64_t count;

private:
    __device__ ColumnPlace(const Rows& all, int64_t channels, int per_thread, int64_t tiles)
        : chunk(blockIdx.x / tiles),
          column((blockIdx.x % tiles * blockDim.x + threadIdx.x) * per_thread),
          inside(column < channels) {
        const ChunkRows rows(all, chunk);
        picture = rows.picture;
        row = rows.picture * all.tokens + rows.first;
        count = rows.last - rows.first;
    }
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

template <int kVec, class T>
__device__ void load_vector(const T* from, float (&to)[kVec]) {
    unpack(load_anywhere<kVec>(from), to);
}

/// Operations: what a thread does for its columns. is_wide: whether all rows are whole vectors.
template <class T, int kVec>
struct GatedResidual {
    using Job = GatedResidualJob;

    __device__ static void run(const Job& job, const ColumnPlace& place) {
        float gate[kVec], bias[kVec];
        load_vector(at<T>(job.gate, place.picture * job.gate_stride + place.column), gate);
        load_vector(at<T>(job.bias, place.column), bias);
        T* const out = place.first_of<T>(job.out, job.channels);
        for_rows<kVec, 2>(place.count, place.first_of<T>(job.x, job.channels), job.channels,
                          place.first_of<T>(job.y, job.channels), job.channels,
                          [&](int64_t row, float(&x)[kVec], const float(&y)[kVec]) {
                              FLUX_UNROLL
                              for (int i = 0; i < kVec; ++i) {
                                  x[i] += gate[i] * (y[i] + bias[i]);
                              }
                              store(out + row * job.channels, x);
                          });
    }
    static bool is_wide(const Job& job) {
        return are_wide<T>(job.channels, {job.x, job.y, job.out});
    }
};

template <class T, int kVec>
struct GatedResidualBackward {
    using Job = GatedResidualJob;

    __device__ static void run(const Job& job, const ColumnPlace& place) {
        float gate[kVec], bias[kVec], gate_sum[kVec] = {}, out_sum[kVec] = {};
        load_vector(at<T>(job.gate, place.picture * job.gate_stride + place.column), gate);
        load_vector(at<T>(job.bias, place.column), bias);
        T* const dy = place.first_of<T>(job.dy, job.channels);
        for_rows<kVec, 2>(place.count, place.first_of<T>(job.dout, job.channels), job.channels,
                          place.first_of<T>(job.y, job.channels), job.channels,
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
    static bool is_wide(const Job& job) {
        return are_wide<T>(job.channels, {job.dout, job.y, job.dy});
    }
};

__device__ inline float gelu_power(float x) { return __expf(gelu_exponent(x)); }
__device__ inline float gelu_sigmoid(float power) { return __fdividef(1.0f, 1.0f + power); }

template <class T, int kVec>
struct Gelu {
    using Job = GeluJob;

    __device__ static void run(const Job& job, const ColumnPlace& place) {
        float bias[kVec];
        load_vector(at<T>(job.bias, place.column), bias);
        T* const y = place.first_of<T>(job.y, job.channels);
        for_rows<kVec, 1, T>(place.count, place.first_of<T>(job.u, job.stride), job.stride, nullptr,
                             0, [&](int64_t row, float(&u)[kVec], const float(&)[kVec]) {
                                 FLUX_UNROLL
                                 for (int i = 0; i < kVec; ++i) {
                                     const float x = u[i] + bias[i];
                                     u[i] = x * gelu_sigmoid(gelu_power(x));
                                 }
                                 store(y + row * job.channels, u);
                             });
    }
    static bool is_wide(const Job& job) {
        return job.stride % kWide<T> == 0 && are_wide<T>(job.channels, {job.u, job.y});
    }
};

template <class T, int kVec>
struct GeluBackward {
    using Job = GeluJob;

    __device__ static void run(const Job& job, const ColumnPlace& place) {
        float bias[kVec], sum[kVec] = {};
        load_vector(at<T>(job.bias, place.column), bias);
        T* const du = place.first_of<T>(job.du, job.stride);
        for_rows<kVec, 2>(place.count, place.first_of<T>(job.u, job.stride), job.stride,
                          place.first_of<T>(job.dy, job.channels), job.channels,
                          [&](int64_t row, float(&u)[kVec], const float(&dy)[kVec]) {
                              FLUX_UNROLL
                              for (int i = 0; i < kVec; ++i) {
                                  const float x = u[i] + bias[i];
                                  const float power = gelu_power(x);
                                  u[i] = dy[i] * gelu_derivative(x, power, gelu_sigmoid(power));
                                  sum[i] += u[i];
                              }
                              store(du + row * job.stride, u);
                          });
        store(job.sums + place.chunk * job.channels + place.column, sum);
    }
    static bool is_wide(const Job& job) {
        return job.stride % kWide<T> == 0 && are_wide<T>(job.channels, {job.u, job.du, job.dy});
    }
};

template <template <class, int> class Operation, class T, int kVec>
__global__ void __launch_bounds__(kColumnThreads)
    column_kernel(typename Operation<T, kVec>::Job job) {
    const ColumnPlace place(job.rows, job.channels, kVec);
    if (place.inside) {
        Operation<T, kVec>::run(job, place);
    }
}

/// With vectors of kVec columns a thread.
template <template <class, int> class Operation, class T, int kVec, class Job>
int launch_tiles(const Job& job, void* stream) {
    const int64_t vectors = round_up((job.channels + kVec - 1) / kVec, kWarp);
    const int64_t threads = vectors < kColumnThreads ? vectors : kColumnThreads;
    const int64_t tiles = (job.channels + threads * kVec - 1) / (threads * kVec);
    return launch(column_kernel<Operation, T, kVec>, job.rows.chunks() * tiles,
                  static_cast<int>(threads), job, stream);
}

template <template <class, int> class Operation, class T, class Job>
int launch_columns(const Job& job, void* stream) {
    return Operation<T, 1>::is_wide(job) ? launch_tiles<Operation, T, kWide<T>>(job, stream)
                                         : launch_tiles<Operation, T, 1>(job, stream);
}

template <class T>
int gated_residual(const GatedResidualJob& job, void* stream) {
    return launch_columns<GatedResidual, T>(job, stream);
}
template <class T>
int gated_residual_backward(const GatedResidualJob& job, void* stream) {
    return launch_columns<GatedResidualBackward, T>(job, stream);
}
template <class T>
int gelu(const GeluJob& job, void* stream) {
    return launch_columns<Gelu, T>(job, stream);
}
template <class T>
int gelu_backward(const GeluJob& job, void* stream) {
    return launch_columns<GeluBackward, T>(job, stream);
}

}  // namespace
}  // namespace flux::kernels
