// CUDA bodies of a step's operations around the transformer. Adam moves 30 bytes an element and
// computes little: a thread loads all its numbers before it uses the first.
#pragma once

#include "kernels/cuda_rows.h"

namespace flux::kernels {
namespace {

constexpr int kStepThreads = 128;

/// What all elements of a step share; each thread finds it, as nothing else waits for numbers less.
struct AdamStep {
    __device__ explicit AdamStep(const AdamJob& job)
        : divisor(*job.divisor),
          mean_share(static_cast<float>(job.mean_share)),
          square_share(static_cast<float>(job.square_share)),
          eps(static_cast<float>(job.eps)) {
        const float lr = *job.lr, steps = *job.steps;
        // Both means begin at zero: what they lack is 1 - beta^steps, exact for few steps too.
        step = lr / -expm1f(steps * static_cast<float>(job.log_beta1));
        root_scale = 1.0f / sqrtf(-expm1f(steps * static_cast<float>(job.log_beta2)));
        decay = static_cast<float>(job.weight_decay);
        if (job.decoupled) {
            decay *= lr;
        }
    }
    float divisor, mean_share, square_share, eps, step, root_scale, decay;
};

template <class T, int kVec>
__device__ void adam_elements(const AdamJob& job, const AdamStep& step, int64_t first) {
    const Pack<float, kVec> packs[4] = {
        load<kVec>(job.value + first), load<kVec>(job.gradient + first),
        load<kVec>(job.mean + first), load<kVec>(job.square + first)};
    float value[kVec], gradient[kVec], mean[kVec], square[kVec];
    unpack(packs[0], value);
    unpack(packs[1], gradient);
    unpack(packs[2], mean);
    unpack(packs[3], square);
    FLUX_UNROLL
    for (int i = 0; i < kVec; ++i) {
        float slope = gradient[i] / step.divisor;
        if (job.decoupled) {
            value[i] -= step.decay * value[i];
        } else {
            slope += step.decay * value[i];
        }
        mean[i] += step.mean_share * (slope - mean[i]);
        square[i] += step.square_share * (slope * slope - square[i]);
        value[i] -= step.step * mean[i] / (sqrtf(square[i]) * step.root_scale + step.eps);
    }
    store(job.value + first, value);
    store(job.mean + first, mean);
    store(job.square + first, square);
    if (job.copy != nullptr) {
        store(at<T>(job.copy, first), value);
    }
}

template <class T, int kVec>
__global__ void __launch_bounds__(kStepThreads) adam_kernel(AdamJob job) {
    const int64_t count = job.rows.tokens;
    const int64_t first = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kVec;
    if (first >= count || *job.skip == 1.0f) {
        return;
    }
    const AdamStep step(job);
    if (first + kVec <= count) {
        adam_elements<T, kVec>(job, step, first);
        return;
    }
    for (int64_t i = first; i < count; ++i) {
        adam_elements<T, 1>(job, step, i);
    }
}

/// A thread has a channel of a patch: its four numbers.
__global__ void __launch_bounds__(kStepThreads) mix_and_pack_kernel(MixJob job) {
    const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const int64_t row = index / job.channels, channel = index % job.channels;
    const int64_t picture = row / job.rows.tokens, token = row % job.rows.tokens;
    if (picture >= job.rows.batch) {
        return;
    }
    const int64_t width = 2 * job.columns;
    const int64_t from = (picture * job.channels + channel) * 4 * job.rows.tokens +
                         token / job.columns * 2 * width + token % job.columns * 2;
    const float share = job.t[picture], rest = 1.0f - share;
    float mixed[4], difference[4];
    FLUX_UNROLL
    for (int i = 0; i < 2; ++i) {
        float a[2], b[2];
        unpack(load_anywhere<2>(job.a + from + i * width), a);
        unpack(load_anywhere<2>(job.b + from + i * width), b);
        FLUX_UNROLL
        for (int k = 0; k < 2; ++k) {
            mixed[2 * i + k] = a[k] * rest + b[k] * share;
            difference[2 * i + k] = b[k] - a[k];
        }
    }
    store(job.mixed + 4 * index, mixed);
    store(job.difference + 4 * index, difference);
}

/// A block has a chunk.
template <class T, int kVec>
__global__ void __launch_bounds__(kStepThreads) squared_error_kernel(SquaredErrorJob job) {
    const ChunkRows rows(job.rows, blockIdx.x);
    const int64_t begin = (rows.picture * job.rows.tokens + rows.first) * job.channels;
    const int64_t count = (rows.last - rows.first) * job.channels;
    const auto factor = static_cast<float>(job.factor);
    BlockSums<1, kStepThreads> add_block;
    float sum[1] = {0.0f};
    for (int64_t i = int64_t{threadIdx.x} * kVec; i < count; i += int64_t{blockDim.x} * kVec) {
        float x[kVec], y[kVec];
        unpack(load<kVec>(at<T>(job.prediction, begin + i)), x);
        unpack(load<kVec>(job.target + begin + i), y);
        FLUX_UNROLL
        for (int k = 0; k < kVec; ++k) {
            x[k] -= y[k];
            sum[0] += x[k] * x[k];
            x[k] *= factor;
        }
        if (job.gradient != nullptr) {
            store(at<T>(job.gradient, begin + i), x);
        }
    }
    add_block(sum);
    if (threadIdx.x == 0) {
        job.sums[blockIdx.x] = sum[0];
    }
}

/// So many blocks that each element has a thread.
constexpr int64_t step_blocks(int64_t elements, int per_thread) {
    const int64_t of_block = int64_t{kStepThreads} * per_thread;
    return (elements + of_block - 1) / of_block;
}

template <class T>
int adam(const AdamJob& job, void* stream) {
    constexpr int kVec = kWide<float>;
    // Counts of elements need not fill vectors: the last thread takes what is left.
    const bool wide = is_wide<float>(job.value, 0, 0) && is_wide<float>(job.gradient, 0, 0) &&
                      is_wide<float>(job.mean, 0, 0) && is_wide<float>(job.square, 0, 0) &&
                      reinterpret_cast<uintptr_t>(job.copy) % alignof(Pack<T, kVec>) == 0;
    const int64_t count = job.rows.tokens;
    return wide ? launch(adam_kernel<T, kVec>, step_blocks(count, kVec), kStepThreads, job, stream)
                : launch(adam_kernel<T, 1>, step_blocks(count, 1), kStepThreads, job, stream);
}

inline int mix_and_pack(const MixJob& job, void* stream) {
    return launch(mix_and_pack_kernel,
                  step_blocks(job.rows.batch * job.rows.tokens * job.channels, 1), kStepThreads,
                  job, stream);
}

template <class T>
int squared_error(const SquaredErrorJob& job, void* stream) {
    constexpr int kVec = kWide<T>;
    const bool wide = is_wide<T>(job.prediction, job.channels, 0) &&
                      is_wide<T>(job.target, job.channels, 0) &&
                      (job.gradient == nullptr || is_wide<T>(job.gradient, job.channels, 0));
    return wide
               ? launch(squared_error_kernel<T, kVec>, job.rows.chunks(), kStepThreads, job, stream)
               : launch(squared_error_kernel<T, 1>, job.rows.chunks(), kStepThreads, job, stream);
}

}  // namespace
}  // namespace flux::kernels
