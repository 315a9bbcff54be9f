// The bodies that split rows into heads; part of row_kernels_body.h.
#pragma once

#include "kernels/row_chunks.h"
#include "kernels/row_common.h"
#include "kernels/row_kernels.h"
#include "kernels/row_numbers.h"

namespace flux::kernels {
namespace {

/// Queries or keys of one head: its part of a row with the bias added, and 1 / root mean square.
template <class T>
float load_head(const T* __restrict from, const float* __restrict bias, int64_t size, float eps,
                float* __restrict to) {
    float square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < size; ++i) {
        to[i] = value(from[i]) + bias[i];
        square += to[i] * to[i];
    }
    return inverse_root(square / static_cast<float>(size) + eps);
}

/// Exchanges the channels of each pair.
inline void swap_pairs(const float* __restrict from, int64_t size, float* __restrict to) {
    for (int64_t i = 0; i < size; i += 2) {
        to[i] = from[i + 1];
        to[i + 1] = from[i];
    }
}

/// Room for one head's numbers.
struct HeadBuffers {
    explicit HeadBuffers(int64_t size) : values(size), slopes(size), swapped(size) {}
    Floats values, slopes, swapped;
};

template <class T>
void normalise_head(const T* from, const float* bias, const float* scale, const float* cosine,
                    const float* sine, int64_t size, float eps, const HeadBuffers& buffers, T* to) {
    float* const __restrict x = buffers.values.data(), * const __restrict s =
                                                           buffers.swapped.data();
    const float rstd = load_head(from, bias, size, eps, x);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        x[i] *= rstd * scale[i];
    }
    swap_pairs(x, size, s);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        put(to[i], x[i] * cosine[i] + s[i] * sine[i]);
    }
}

/// `gradient`: of the rotated, normalised head.
template <class T>
void normalise_head_backward(const T* from, const float* bias, const float* scale,
                             const float* cosine, const float* sine, int64_t size, float eps,
                             const HeadBuffers& buffers, const T* gradient,
                             float* __restrict scale_sum, float* __restrict bias_sum, T* to) {
    float* const __restrict x = buffers.values.data();
    float* const __restrict g = buffers.slopes.data(), * const __restrict s =
                                                           buffers.swapped.data();
    const float rstd = load_head(from, bias, size, eps, x);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        g[i] = value(gradient[i]);
    }
    swap_pairs(g, size, s);
    float projection = 0;
#pragma omp simd reduction(+ : projection)
    for (int64_t i = 0; i < size; ++i) {
        const float turned = g[i] * cosine[i] - s[i] * sine[i];
        x[i] *= rstd;
        scale_sum[i] += turned * x[i];
        g[i] = turned * scale[i];
        projection += g[i] * x[i];
    }
    projection /= static_cast<float>(size);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        const float d = rstd * (g[i] - x[i] * projection);
        bias_sum[i] += d;
        put(to[i], d);
    }
}

template <class T>
void heads(const HeadsJob& job, int64_t begin, int64_t end) {
    const int64_t size = job.head_size, channels = job.heads * size;
    const Floats biases(at<T>(job.bias, 0), 3 * channels);
    const Floats query_scale(at<T>(job.query_scale, 0), size);
    const Floats key_scale(at<T>(job.key_scale, 0), size);
    const auto eps = static_cast<float>(job.eps);
    const float* const bias = biases.data();
    const HeadBuffers buffers(size);
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const T* const row = at<T>(job.qkv, (rows.picture * job.rows.tokens + t) * job.stride);
            const int64_t turn = rows.picture * job.table_stride + (job.offset + t) * size;
            for (int64_t h = 0; h < job.heads; ++h) {
                const int64_t to =
                    ((rows.picture * job.heads + h) * job.all_tokens + job.offset + t) * size;
                const int64_t from = h * size;
                normalise_head(row + from, bias + from, query_scale.data(), job.cos + turn,
                               job.sin + turn, size, eps, buffers, at<T>(job.q, to));
                normalise_head(row + channels + from, bias + channels + from, key_scale.data(),
                               job.cos + turn, job.sin + turn, size, eps, buffers,
                               at<T>(job.k, to));
                const T* const __restrict v = row + 2 * channels + from;
                const float* const __restrict b = bias + 2 * channels + from;
                T* const __restrict out = at<T>(job.v, to);
#pragma omp simd
                for (int64_t i = 0; i < size; ++i) {
                    put(out[i], value(v[i]) + b[i]);
                }
            }
        }
    }
}

template <class T>
void heads_backward(const HeadsJob& job, int64_t begin, int64_t end) {
    const int64_t size = job.head_size, channels = job.heads * size;
    const Floats biases(at<T>(job.bias, 0), 3 * channels);
    const Floats query_scale(at<T>(job.query_scale, 0), size);
    const Floats key_scale(at<T>(job.key_scale, 0), size);
    const auto eps = static_cast<float>(job.eps);
    const float* const bias = biases.data();
    const HeadBuffers buffers(size);
    const ChunkSums sums(2 * size + 3 * channels);
    float *const query_sum = sums.few(), *const key_sum = query_sum + size;
    float* const bias_sum = key_sum + size;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        float* const total = job.sums + chunk * (2 * size + 3 * channels);
        sums.begin(total);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t offset = (rows.picture * job.rows.tokens + t) * job.stride;
            const T* const row = at<T>(job.qkv, offset);
            T* const out = at<T>(job.dqkv, offset);
            const int64_t turn = rows.picture * job.table_stride + (job.offset + t) * size;
            for (int64_t h = 0; h < job.heads; ++h) {
                const int64_t in =
                    ((rows.picture * job.heads + h) * job.all_tokens + job.offset + t) * size;
                const int64_t part = h * size;
                normalise_head_backward(row + part, bias + part, query_scale.data(), job.cos + turn,
                                        job.sin + turn, size, eps, buffers, at<T>(job.dq, in),
                                        query_sum, bias_sum + part, out + part);
                const int64_t key = channels + part;
                normalise_head_backward(row + key, bias + key, key_scale.data(), job.cos + turn,
                                        job.sin + turn, size, eps, buffers, at<T>(job.dk, in),
                                        key_sum, bias_sum + key, out + key);
                const T* const __restrict dv = at<T>(job.dv, in);
                float* const __restrict sum = bias_sum + 2 * channels + part;
                T* const __restrict to = out + 2 * channels + part;
#pragma omp simd
                for (int64_t i = 0; i < size; ++i) {
                    sum[i] += value(dv[i]);
                    to[i] = dv[i];
                }
            }
            sums.end_row(t, rows.last, total);
        }
    }
}

}  // namespace
}  // namespace flux::kernels
