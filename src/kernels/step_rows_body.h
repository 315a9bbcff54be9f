// The bodies of a step's operations around the transformer; part of row_kernels_body.h.
#pragma once

#include "kernels/row_chunks.h"
#include "kernels/row_kernels.h"
#include "kernels/row_numbers.h"

namespace flux::kernels {
namespace {

/// What all elements of a step share.
struct AdamStep {
    explicit AdamStep(const AdamJob& job)
        : divisor(*job.divisor),
          mean_share(static_cast<float>(job.mean_share)),
          square_share(static_cast<float>(job.square_share)),
          eps(static_cast<float>(job.eps)) {
        const double lr = *job.lr, steps = *job.steps;
        // Both means begin at zero: what they lack is 1 - beta^steps.
        step = static_cast<float>(lr / -__builtin_expm1(steps * job.log_beta1));
        root_scale =
            static_cast<float>(1.0 / __builtin_sqrt(-__builtin_expm1(steps * job.log_beta2)));
        decay = static_cast<float>(job.decoupled ? lr * job.weight_decay : job.weight_decay);
    }
    float divisor, mean_share, square_share, eps, step, root_scale, decay;
};

template <class T, bool kDecoupled, bool kCopies>
void adam_elements(const AdamJob& job, const AdamStep& step, int64_t first, int64_t count) {
    float* const __restrict values = job.value + first;
    const float* const __restrict gradients = job.gradient + first;
    float* const __restrict means = job.mean + first;
    float* const __restrict squares = job.square + first;
    T* const __restrict copies = kCopies ? at<T>(job.copy, first) : nullptr;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
        const float old = values[i], mean = means[i], square = squares[i];
        float gradient = gradients[i] / step.divisor;
        if (!kDecoupled) {
            gradient += step.decay * old;
        }
        means[i] = mean + step.mean_share * (gradient - mean);
        squares[i] = square + step.square_share * (gradient * gradient - square);
        const float kept = kDecoupled ? old - step.decay * old : old;
        const float root = __builtin_sqrtf(squares[i]) * step.root_scale + step.eps;
        const float next = kept - step.step * means[i] / root;
        values[i] = next;
        if (kCopies) {
            put(copies[i], next);
        }
    }
}

template <class T>
void adam(const AdamJob& job, int64_t begin, int64_t end) {
    if (*job.skip == 1.0f) {
        return;
    }
    const AdamStep step(job);
    const auto elements =
        job.decoupled
            ? (job.copy != nullptr ? adam_elements<T, true, true> : adam_elements<T, true, false>)
            : (job.copy != nullptr ? adam_elements<T, false, true>
                                   : adam_elements<T, false, false>);
    const int64_t first = begin * job.rows.chunk, last = end * job.rows.chunk;
    elements(job, step, first, (last < job.rows.tokens ? last : job.rows.tokens) - first);
}

inline void mix_and_pack(const MixJob& job, int64_t begin, int64_t end) {
    const int64_t width = 2 * job.columns, plane = 4 * job.rows.tokens;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        const float share = job.t[rows.picture], rest = 1.0f - share;
        for (int64_t token = rows.first; token < rows.last; ++token) {
            const int64_t corner = rows.picture * job.channels * plane +
                                   token / job.columns * 2 * width + token % job.columns * 2;
            const int64_t to = (rows.picture * job.rows.tokens + token) * 4 * job.channels;
            for (int64_t i = 0; i < 4 * job.channels; ++i) {
                const int64_t from = corner + i / 4 * plane + i % 4 / 2 * width + i % 2;
                job.mixed[to + i] = job.a[from] * rest + job.b[from] * share;
                job.difference[to + i] = job.b[from] - job.a[from];
            }
        }
    }
}

template <class T>
void squared_error(const SquaredErrorJob& job, int64_t begin, int64_t end) {
    const auto factor = static_cast<float>(job.factor);
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        double sum = 0;  // of few numbers at a time in fp32
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t offset = (rows.picture * job.rows.tokens + t) * job.channels;
            const T* const x = at<T>(job.prediction, offset);
            const float* const y = job.target + offset;
            float row = 0;
#pragma omp simd reduction(+ : row)
            for (int64_t i = 0; i < job.channels; ++i) {
                const float difference = value(x[i]) - y[i];
                row += difference * difference;
            }
            sum += static_cast<double>(row);
            if (job.gradient == nullptr) {
                continue;
            }
            T* const gradient = at<T>(job.gradient, offset);
#pragma omp simd
            for (int64_t i = 0; i < job.channels; ++i) {
                put(gradient[i], (value(x[i]) - y[i]) * factor);
            }
        }
        job.sums[chunk] = static_cast<float>(sum);
    }
}

}  // namespace
}  // namespace flux::kernels
