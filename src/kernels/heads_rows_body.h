// The bodies that split rows into heads; part of row_kernels_body.h.
#pragma once

#include "kernels/row_chunks.h"
#include "kernels/row_common.h"
#include "kernels/row_kernels.h"
#include "kernels/row_numbers.h"

namespace flux::kernels {
namespace {

/// Queries or keys of one head of one token.
template <class T>
struct HeadInput {
    const T* numbers;
    const float* bias;
    const float* scale;
};

/// Where their gradients come from and go.
template <class T>
struct HeadGradients {
    const T* dhead;    // of the rotated, normalised head
    float* scale_sum;  // added to
    float* bias_sum;   // added to
    T* dnumbers;
};

/// The rotation of one token: for each channel.
struct Turn {
    Turn(const HeadsJob& job, int64_t picture, int64_t t)
        : Turn(job, picture * job.table_stride + (job.offset + t) * job.head_size) {}
    const float *cos, *sin;

private:
    Turn(const HeadsJob& job, int64_t offset) : cos(job.cos + offset), sin(job.sin + offset) {}
};

/// What all heads share, and room for one head's numbers.
struct HeadRoom {
    explicit HeadRoom(const HeadsJob& job)
        : size(job.head_size),
          eps(static_cast<float>(job.eps)),
          values(size),
          slopes(size),
          swapped(size) {}
    int64_t size;
    float eps;
    Floats values, slopes, swapped;
};

/// Adds the bias, to `room.values`. Returns 1 / root mean square.
template <class T>
float load_head(const HeadInput<T>& in, const HeadRoom& room) {
    const T* const __restrict from = in.numbers;
    const float* const __restrict bias = in.bias;
    float* const __restrict to = room.values.data();
    float square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < room.size; ++i) {
        to[i] = value(from[i]) + bias[i];
        square += to[i] * to[i];
    }
    return inverse_root(square / static_cast<float>(room.size) + room.eps);
}

/// Exchanges the channels of each pair.
inline void swap_pairs(const float* __restrict from, int64_t size, float* __restrict to) {
    for (int64_t i = 0; i < size; i += 2) {
        to[i] = from[i + 1];
        to[i + 1] = from[i];
    }
}

template <class T>
void normalise_head(const HeadInput<T>& in, const Turn& turn, const HeadRoom& room, T* to) {
    const int64_t size = room.size;
    float* const __restrict x = room.values.data();
    float* const __restrict s = room.swapped.data();
    const float *const scale = in.scale, *const cosine = turn.cos, *const sine = turn.sin;
    const float rstd = load_head(in, room);
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

template <class T>
void normalise_head_backward(const HeadInput<T>& in, const Turn& turn, const HeadRoom& room,
                             const HeadGradients<T>& out) {
    const int64_t size = room.size;
    float* const __restrict x = room.values.data();
    float* const __restrict g = room.slopes.data();
    float* const __restrict s = room.swapped.data();
    float* const __restrict scale_sum = out.scale_sum, * const __restrict bias_sum = out.bias_sum;
    const float *const scale = in.scale, *const cosine = turn.cos, *const sine = turn.sin;
    const T* const gradient = out.dhead;
    T* const to = out.dnumbers;
    const float rstd = load_head(in, room);
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

/// Where a head of a token begins in q, k and v.
inline int64_t place_in_heads(const HeadsJob& job, int64_t picture, int64_t head, int64_t t) {
    return ((picture * job.heads + head) * job.all_tokens + job.offset + t) * job.head_size;
}

template <class T>
void heads(const HeadsJob& job, int64_t begin, int64_t end) {
    const int64_t size = job.head_size, channels = job.heads * size;
    const Floats biases(at<T>(job.bias, 0), 3 * channels);
    const Floats query_scale(at<T>(job.query_scale, 0), size);
    const Floats key_scale(at<T>(job.key_scale, 0), size);
    const float* const scales[] = {query_scale.data(), key_scale.data()};
    void* const results[] = {job.q, job.k};
    const float* const bias = biases.data();
    const HeadRoom room(job);
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const T* const row = at<T>(job.qkv, (rows.picture * job.rows.tokens + t) * job.stride);
            const Turn turn(job, rows.picture, t);
            for (int64_t h = 0; h < job.heads; ++h) {
                const int64_t to = place_in_heads(job, rows.picture, h, t);
                for (int part = 0; part < 2; ++part) {  // queries, keys
                    const int64_t from = part * channels + h * size;
                    normalise_head<T>({row + from, bias + from, scales[part]}, turn, room,
                                      at<T>(results[part], to));
                }
                const T* const __restrict v = row + 2 * channels + h * size;
                const float* const __restrict b = bias + 2 * channels + h * size;
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
    const float* const scales[] = {query_scale.data(), key_scale.data()};
    const void* const gradients[] = {job.dq, job.dk};
    const float* const bias = biases.data();
    const HeadRoom room(job);
    const ChunkSums sums(2 * size + 3 * channels);
    float *const scale_sum = sums.few(), *const bias_sum = scale_sum + 2 * size;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        float* const total = job.sums + chunk * (2 * size + 3 * channels);
        sums.begin(total);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t offset = (rows.picture * job.rows.tokens + t) * job.stride;
            const T* const row = at<T>(job.qkv, offset);
            T* const out = at<T>(job.dqkv, offset);
            const Turn turn(job, rows.picture, t);
            for (int64_t h = 0; h < job.heads; ++h) {
                const int64_t in = place_in_heads(job, rows.picture, h, t);
                for (int part = 0; part < 2; ++part) {  // queries, keys
                    const int64_t from = part * channels + h * size;
                    normalise_head_backward<T>({row + from, bias + from, scales[part]}, turn, room,
                                               {at<T>(gradients[part], in), scale_sum + part * size,
                                                bias_sum + from, out + from});
                }
                const T* const __restrict dv = at<T>(job.dv, in);
                float* const __restrict sum = bias_sum + 2 * channels + h * size;
                T* const __restrict to = out + 2 * channels + h * size;
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
