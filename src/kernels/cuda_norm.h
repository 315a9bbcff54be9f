// CUDA bodies of LayerNorm with modulation: a block a row, whose numbers stay in registers.
// Backward a block goes through a chunk of rows, as its threads keep the sums of their columns, and
// loads the next row while it works on this one.
#pragma once

#include "kernels/cuda_rows.h"

namespace flux::kernels {
namespace {

constexpr int kNormThreads = 512;

/// The column of this thread's vector number `group`.
template <int kVec>
__device__ int64_t column_of(int group) {
    return (static_cast<int64_t>(group) * blockDim.x + threadIdx.x) * kVec;
}

template <class T, int kVec, int kGroups>
__global__ void __launch_bounds__(kNormThreads) norm_modulate_kernel(NormModulateJob job) {
    const int64_t row = blockIdx.x, begin = row * job.channels;
    const int64_t vectors = row / job.rows.tokens * job.modulation_stride;
    BlockSums<1, kNormThreads> add_block;
    float n[kGroups][kVec], sum[1] = {0.0f}, square[1] = {0.0f};
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const int64_t column = column_of<kVec>(g);
        unpack(column < job.channels ? load<kVec>(at<T>(job.x, begin + column)) : Pack<T, kVec>{},
               n[g]);
        for (int i = 0; i < kVec; ++i) {
            sum[0] += n[g][i];
        }
    }
    add_block(sum);
    const float mean = sum[0] / static_cast<float>(job.channels);
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const bool inside = column_of<kVec>(g) < job.channels;
        for (int i = 0; i < kVec; ++i) {
            n[g][i] -= mean;
            square[0] += inside ? n[g][i] * n[g][i] : 0.0f;
        }
    }
    add_block(square);
    const float rstd =
        rsqrtf(square[0] / static_cast<float>(job.channels) + static_cast<float>(job.eps));
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const int64_t column = column_of<kVec>(g);
        if (column < job.channels) {
            float scale[kVec], shift[kVec];
            unpack(load_anywhere<kVec>(at<T>(job.scale, vectors + column)), scale);
            unpack(load_anywhere<kVec>(at<T>(job.shift, vectors + column)), shift);
            for (int i = 0; i < kVec; ++i) {
                n[g][i] = n[g][i] * rstd * (1.0f + scale[i]) + shift[i];
            }
            store(at<T>(job.y, begin + column), n[g]);
        }
    }
    if (threadIdx.x == 0) {
        job.mean[row] = mean;
        job.rstd[row] = rstd;
    }
}

/// This thread's part of a row.
template <class T, int kVec, int kGroups>
struct NormRow {
    Pack<T, kVec> x[kGroups], dy[kGroups];
    float mean, rstd;
};

template <class T, int kVec, int kGroups>
__device__ NormRow<T, kVec, kGroups> load_row(const NormModulateJob& job, int64_t index) {
    NormRow<T, kVec, kGroups> row{};
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const int64_t column = column_of<kVec>(g);
        if (column < job.channels) {
            row.x[g] = load<kVec>(at<T>(job.x, index * job.channels + column));
            row.dy[g] = load<kVec>(at<T>(job.dy, index * job.channels + column));
        }
    }
    row.mean = job.mean[index];
    row.rstd = job.rstd[index];
    return row;
}

template <class T, int kVec, int kGroups>
__global__ void __launch_bounds__(kNormThreads) norm_modulate_backward_kernel(NormModulateJob job) {
    const ChunkRows rows(job.rows, blockIdx.x);
    BlockSums<2, kNormThreads> add_block;
    float scale[kGroups][kVec] = {}, shift_sum[kGroups][kVec] = {}, scale_sum[kGroups][kVec] = {};
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const int64_t column = column_of<kVec>(g);
        if (column < job.channels) {
            unpack(load_anywhere<kVec>(
                       at<T>(job.scale, rows.picture * job.modulation_stride + column)),
                   scale[g]);
        }
    }
    const int64_t first = rows.picture * job.rows.tokens + rows.first;
    const int64_t last = rows.picture * job.rows.tokens + rows.last;
    auto next = load_row<T, kVec, kGroups>(job, first);
    for (int64_t index = first; index < last; ++index) {
        const auto row = next;
        if (index + 1 < last) {
            next = load_row<T, kVec, kGroups>(job, index + 1);
        }
        float n[kGroups][kVec], slope[kGroups][kVec], sums[2] = {0.0f, 0.0f};
        FLUX_UNROLL
        for (int g = 0; g < kGroups; ++g) {
            float dy[kVec];
            unpack(row.x[g], n[g]);
            unpack(row.dy[g], dy);  // zeros beyond the last column
            for (int i = 0; i < kVec; ++i) {
                n[g][i] = (n[g][i] - row.mean) * row.rstd;
                slope[g][i] = dy[i] * (1.0f + scale[g][i]);
                shift_sum[g][i] += dy[i];
                scale_sum[g][i] += dy[i] * n[g][i];
                sums[0] += slope[g][i];
                sums[1] += slope[g][i] * n[g][i];
            }
        }
        add_block(sums);
        const float mean = sums[0] / static_cast<float>(job.channels);
        const float projection = sums[1] / static_cast<float>(job.channels);
        FLUX_UNROLL
        for (int g = 0; g < kGroups; ++g) {
            const int64_t column = column_of<kVec>(g);
            if (column < job.channels) {
                for (int i = 0; i < kVec; ++i) {
                    slope[g][i] = row.rstd * (slope[g][i] - mean - n[g][i] * projection);
                }
                store(at<T>(job.dx, index * job.channels + column), slope[g]);
            }
        }
    }
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const int64_t column = column_of<kVec>(g);
        if (column < job.channels) {
            float* const sums = job.sums + blockIdx.x * 2 * job.channels + column;
            store(sums, shift_sum[g]);
            store(sums + job.channels, scale_sum[g]);
        }
    }
}

using NormKernel = void (*)(NormModulateJob);

/// Kernels of `kGroups` vectors a thread, and the threads that are wanted at most.
template <class T, int kVec, int kGroups>
struct NormForward {
    static constexpr int64_t kMost =
        256;  // some warps, whose lanes have several loads on their way
    static NormKernel kernel() { return norm_modulate_kernel<T, kVec, kGroups>; }
};
template <class T, int kVec, int kGroups>
struct NormBackward {
    static constexpr int64_t kMost = kNormThreads;  // as few columns a thread as can be: their sums
    static NormKernel kernel() { return norm_modulate_backward_kernel<T, kVec, kGroups>; }
};

/// Null where `kFewer` vectors a thread are enough for the widest row.
template <template <class, int, int> class Norm, class T, int kVec, int kGroups, int kFewer>
NormKernel norm_kernel() {
    if constexpr (kFewer * kVec * Norm<T, kVec, kGroups>::kMost < kMaxCudaNormChannels) {
        return Norm<T, kVec, kGroups>::kernel();
    } else {
        return nullptr;
    }
}

/// The first kernel with which kMost threads are enough, else with which kNormThreads are.
template <template <class, int, int> class Norm, class T>
int launch_norm(const NormModulateJob& job, bool wide, int64_t blocks, void* stream) {
    constexpr int kVec = kWide<T>;
    constexpr int64_t kGroups[] = {1, 2, 4, 8, 32};
    const NormKernel wide_kernels[] = {
        norm_kernel<Norm, T, kVec, 1, 0>(), norm_kernel<Norm, T, kVec, 2, 1>(),
        norm_kernel<Norm, T, kVec, 4, 2>(), norm_kernel<Norm, T, kVec, 8, 4>(), nullptr};
    const NormKernel narrow_kernels[] = {norm_kernel<Norm, T, 1, 1, 0>(), nullptr, nullptr,
                                         norm_kernel<Norm, T, 1, 8, 1>(),
                                         norm_kernel<Norm, T, 1, 32, 8>()};
    const int64_t per_vector = wide ? kVec : 1;
    const int64_t vectors = (job.channels + per_vector - 1) / per_vector;
    for (const int64_t most : {Norm<T, 1, 1>::kMost, int64_t{kNormThreads}}) {
        for (int i = 0; i < 5; ++i) {
            const NormKernel kernel = wide ? wide_kernels[i] : narrow_kernels[i];
            const int64_t threads = round_up((vectors + kGroups[i] - 1) / kGroups[i], kWarp);
            if (kernel != nullptr && threads <= most) {
                return launch(kernel, blocks, static_cast<int>(threads), job, stream);
            }
        }
    }
    return kNoKernel;
}

/// One block a row.
template <class T>
int norm_modulate(const NormModulateJob& job, void* stream) {
    const bool wide = are_wide<T>(job.channels, {job.x, job.y});
    return launch_norm<NormForward, T>(job, wide, job.rows.batch * job.rows.tokens, stream);
}

/// One block a chunk.
template <class T>
int norm_modulate_backward(const NormModulateJob& job, void* stream) {
    const bool wide = are_wide<T>(job.channels, {job.x, job.dy, job.dx});
    return launch_norm<NormBackward, T>(job, wide, job.rows.chunks(), stream);
}

}  // namespace
}  // namespace flux::kernels
