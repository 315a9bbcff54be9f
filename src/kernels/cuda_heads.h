// CUDA bodies of the heads: RMSNorm, rotation and layout. Some lanes own a head, each some whole
// pairs of its channels, and go through a chunk of tokens: bias, scales and sums stay in registers,
// queries and keys share the rotation, and the next token is loaded while one works on this.
#pragma once

#include "kernels/cuda_rows.h"

namespace flux::kernels {
namespace {

constexpr int kHeadThreads = 128;

/// Lanes of one head with `per_lane` neighbouring channels each, a power of two; heads that need
/// more than a warp have several such groups of channels.
__host__ __device__ inline int lanes_of_head(int64_t head_size, int per_lane) {
    int lanes = 1;
    while (lanes < kWarp && lanes * per_lane < head_size) {
        lanes *= 2;
    }
    return lanes;
}

__host__ __device__ inline int64_t blocks_of_chunk(const HeadsJob& job, int lanes) {
    const int64_t per_block = kHeadThreads / lanes;
    return (job.heads + per_block - 1) / per_block;
}

/// What a thread works on. A head's lanes are idle together, but take part in its warp's sums.
struct HeadPlace {
    __device__ HeadPlace(const HeadsJob& job, int per_lane)
        : lanes(lanes_of_head(job.head_size, per_lane)),
          chunk(blockIdx.x / blocks_of_chunk(job, lanes)),
          head(blockIdx.x % blocks_of_chunk(job, lanes) * (kHeadThreads / lanes) +
               threadIdx.x / lanes),
          inside(head < job.heads),
          rows(job.rows, chunk),
          lane(static_cast<int>(threadIdx.x) % lanes) {}

    /// Of `group`, in its head.
    template <int kVec>
    __device__ int64_t column(int group) const {
        return (static_cast<int64_t>(group) * lanes + lane) * kVec;
    }
    __device__ bool has(const HeadsJob& job, int64_t column) const {
        return inside && column < job.head_size;
    }

    int lanes;
    int64_t chunk;
    int64_t head;
    bool inside;
    ChunkRows rows;
    int lane;
};

/// Numbers of one lane for queries, keys and values; zeros beyond the head.
template <class T, int kVec, int kGroups>
struct HeadPacks {
    Pack<T, kVec> part[3][kGroups];
};

/// One token of one lane.
template <class T, int kVec, int kGroups>
struct HeadToken {
    HeadPacks<T, kVec, kGroups> qkv;
    HeadPacks<T, kVec, kGroups> gradient;              // backward
    Pack<float, kVec / 2> cos[kGroups], sin[kGroups];  // of each pair
};

/// Pairs may lie anywhere, and are then loaded and stored as two numbers.
template <bool kWhole, int kVec, class T>
__device__ Pack<T, kVec> load_part(const T* from) {
    if constexpr (kWhole) {
        return load<kVec>(from);
    } else {
        return load_anywhere<kVec>(from);
    }
}
template <class T, int kVec>
__device__ void store_part(T* to, const Pack<T, kVec>& pack) {
    if constexpr (kVec == kWide<T>) {
        store(to, pack);
    } else {
        store_anywhere(to, pack);
    }
}

/// Where a token's head begins in q, k and v.
__device__ inline int64_t place_in_heads(const HeadsJob& job, const HeadPlace& place, int64_t t) {
    return ((place.rows.picture * job.heads + place.head) * job.all_tokens + job.offset + t) *
           job.head_size;
}

/// Where a token's queries of this head begin in qkv; keys and values follow C and 2 C later.
__device__ inline int64_t place_in_row(const HeadsJob& job, const HeadPlace& place, int64_t t) {
    return (place.rows.picture * job.rows.tokens + t) * job.stride + place.head * job.head_size;
}

template <class T, int kVec, int kGroups>
__device__ HeadToken<T, kVec, kGroups> load_token(const HeadsJob& job, const HeadPlace& place,
                                                  int64_t t, bool backward) {
    constexpr bool kWhole = kVec == kWide<T>;
    HeadToken<T, kVec, kGroups> token{};
    const int64_t row = place_in_row(job, place, t), head = place_in_heads(job, place, t);
    const int64_t channels = job.heads * job.head_size;
    const int64_t turn = place.rows.picture * job.table_stride + (job.offset + t) * job.head_size;
    const void* const gradients[3] = {job.dq, job.dk, job.dv};
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const int64_t column = place.column<kVec>(g);
        if (!place.has(job, column)) {
            continue;
        }
        FLUX_UNROLL
        for (int part = 0; part < 3; ++part) {
            token.qkv.part[part][g] =
                load_part<kWhole, kVec>(at<T>(job.qkv, row + part * channels + column));
        }
        if (backward) {
            FLUX_UNROLL
            for (int part = 0; part < 3; ++part) {
                token.gradient.part[part][g] =
                    load_part<kWhole, kVec>(at<T>(gradients[part], head + column));
            }
        }
        const auto cos = load_part<kWhole, kVec>(job.cos + turn + column);
        const auto sin = load_part<kWhole, kVec>(job.sin + turn + column);
        FLUX_UNROLL
        for (int i = 0; i < kVec / 2; ++i) {
            token.cos[g].numbers[i] = cos.numbers[2 * i];
            token.sin[g].numbers[i] = sin.numbers[2 * i + 1];
        }
    }
    return token;
}

/// What all tokens of a head share.
template <class T, int kVec, int kGroups>
struct HeadWeights {
    __device__ HeadWeights(const HeadsJob& job, const HeadPlace& place) : bias{}, scale{} {
        const int64_t channels = job.heads * job.head_size;
        const void* const scales[2] = {job.query_scale, job.key_scale};
        FLUX_UNROLL
        for (int g = 0; g < kGroups; ++g) {
            const int64_t column = place.column<kVec>(g);
            if (!place.has(job, column)) {
                continue;
            }
            FLUX_UNROLL
            for (int part = 0; part < 3; ++part) {
                bias.part[part][g] = load_anywhere<kVec>(
                    at<T>(job.bias, part * channels + place.head * job.head_size + column));
            }
            FLUX_UNROLL
            for (int part = 0; part < 2; ++part) {
                scale.part[part][g] = load_anywhere<kVec>(at<T>(scales[part], column));
            }
        }
    }
    HeadPacks<T, kVec, kGroups> bias;
    HeadPacks<T, kVec, kGroups> scale;  // of queries and keys
};

/// from + bias
template <class T, int kVec>
__device__ void add_bias(const Pack<T, kVec>& from, const Pack<T, kVec>& bias, float (&to)[kVec]) {
    float b[kVec];
    unpack(from, to);
    unpack(bias, b);
    FLUX_UNROLL
    for (int i = 0; i < kVec; ++i) {
        to[i] += b[i];
    }
}

/// Turns each pair by its angle, or back.
template <int kVec>
__device__ void turn_pairs(float (&x)[kVec], const Pack<float, kVec / 2>& cos,
                           const Pack<float, kVec / 2>& sin, float direction) {
    FLUX_UNROLL
    for (int i = 0; i < kVec / 2; ++i) {
        const float c = cos.numbers[i], s = direction * sin.numbers[i];
        const float even = x[2 * i], odd = x[2 * i + 1];
        x[2 * i] = even * c - odd * s;
        x[2 * i + 1] = odd * c + even * s;
    }
}

__device__ inline float inverse_rms(float square, const HeadsJob& job) {
    return rsqrtf(square / static_cast<float>(job.head_size) + static_cast<float>(job.eps));
}

template <class T, int kVec, int kGroups>
__device__ void normalise_token(const HeadsJob& job, const HeadPlace& place,
                                const HeadWeights<T, kVec, kGroups>& weights,
                                const HeadToken<T, kVec, kGroups>& token, int64_t t) {
    float x[3][kGroups][kVec], square[2] = {0.0f, 0.0f};
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        FLUX_UNROLL
        for (int part = 0; part < 3; ++part) {
            add_bias(token.qkv.part[part][g], weights.bias.part[part][g], x[part][g]);
        }
        FLUX_UNROLL
        for (int part = 0; part < 2; ++part) {
            FLUX_UNROLL
            for (int i = 0; i < kVec; ++i) {
                square[part] += x[part][g][i] * x[part][g][i];
            }
        }
    }
    add_lanes(square, place.lanes);
    void* const to[3] = {job.q, job.k, job.v};
    const int64_t begin = place_in_heads(job, place, t);
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const int64_t column = place.column<kVec>(g);
        if (!place.has(job, column)) {
            continue;
        }
        FLUX_UNROLL
        for (int part = 0; part < 2; ++part) {
            const float rstd = inverse_rms(square[part], job);
            float scale[kVec];
            unpack(weights.scale.part[part][g], scale);
            FLUX_UNROLL
            for (int i = 0; i < kVec; ++i) {
                x[part][g][i] *= rstd * scale[i];
            }
            turn_pairs(x[part][g], token.cos[g], token.sin[g], 1.0f);
        }
        FLUX_UNROLL
        for (int part = 0; part < 3; ++part) {
            store_part(at<T>(to[part], begin + column), packed<T>(x[part][g]));
        }
    }
}

template <class T, int kVec, int kGroups>
__global__ void __launch_bounds__(kHeadThreads) heads_kernel(HeadsJob job) {
    const HeadPlace place(job, kVec);
    const HeadWeights<T, kVec, kGroups> weights(job, place);
    auto next = load_token<T, kVec, kGroups>(job, place, place.rows.first, false);
    for (int64_t t = place.rows.first; t < place.rows.last; ++t) {
        const auto token = next;
        if (t + 1 < place.rows.last) {
            next = load_token<T, kVec, kGroups>(job, place, t + 1, false);
        }
        normalise_token(job, place, weights, token, t);
    }
}

/// Of one lane, over a chunk.
template <int kVec, int kGroups>
struct HeadSums {
    float scale[2][kGroups][kVec];
    float bias[3][kGroups][kVec];
};

/// Gradients of one token. With n = x / rms, and g the gradient of n: dx = (g - n mean(g n)) / rms.
template <class T, int kVec, int kGroups>
__device__ void normalise_token_backward(const HeadsJob& job, const HeadPlace& place,
                                         const HeadWeights<T, kVec, kGroups>& weights,
                                         const HeadToken<T, kVec, kGroups>& token, int64_t t,
                                         HeadSums<kVec, kGroups>& sums) {
    float x[2][kGroups][kVec], turned[2][kGroups][kVec];
    float totals[4] = {};  // x x, then g x, of queries and of keys
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        FLUX_UNROLL
        for (int part = 0; part < 2; ++part) {
            float scale[kVec];
            unpack(weights.scale.part[part][g], scale);
            add_bias(token.qkv.part[part][g], weights.bias.part[part][g], x[part][g]);
            unpack(token.gradient.part[part][g], turned[part][g]);
            turn_pairs(turned[part][g], token.cos[g], token.sin[g], -1.0f);
            FLUX_UNROLL
            for (int i = 0; i < kVec; ++i) {
                totals[part] += x[part][g][i] * x[part][g][i];
                totals[2 + part] += turned[part][g][i] * scale[i] * x[part][g][i];
            }
        }
    }
    add_lanes(totals, place.lanes);
    const int64_t channels = job.heads * job.head_size, begin = place_in_row(job, place, t);
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const int64_t column = place.column<kVec>(g);
        if (!place.has(job, column)) {
            continue;
        }
        float d[kVec], scale[kVec];
        FLUX_UNROLL
        for (int part = 0; part < 2; ++part) {
            const float rstd = inverse_rms(totals[part], job);
            const float mean = totals[2 + part] * rstd / static_cast<float>(job.head_size);
            unpack(weights.scale.part[part][g], scale);
            FLUX_UNROLL
            for (int i = 0; i < kVec; ++i) {
                const float n = x[part][g][i] * rstd;
                sums.scale[part][g][i] += turned[part][g][i] * n;
                d[i] = rstd * (turned[part][g][i] * scale[i] - n * mean);
                sums.bias[part][g][i] += d[i];
            }
            store_part(at<T>(job.dqkv, begin + part * channels + column), packed<T>(d));
        }
        unpack(token.gradient.part[2][g], d);
        FLUX_UNROLL
        for (int i = 0; i < kVec; ++i) {
            sums.bias[2][g][i] += d[i];
        }
        store_part(at<T>(job.dqkv, begin + 2 * channels + column), token.gradient.part[2][g]);
    }
}

template <class T, int kVec, int kGroups>
__global__ void __launch_bounds__(kHeadThreads, 3) heads_backward_kernel(HeadsJob job) {
    const HeadPlace place(job, kVec);
    const HeadWeights<T, kVec, kGroups> weights(job, place);
    HeadSums<kVec, kGroups> sums{};
    auto next = load_token<T, kVec, kGroups>(job, place, place.rows.first, true);
    for (int64_t t = place.rows.first; t < place.rows.last; ++t) {
        const auto token = next;
        if (t + 1 < place.rows.last) {
            next = load_token<T, kVec, kGroups>(job, place, t + 1, true);
        }
        normalise_token_backward(job, place, weights, token, t, sums);
    }
    const int64_t channels = job.heads * job.head_size;
    float* const total = job.sums + place.chunk * 5 * channels + place.head * job.head_size;
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        const int64_t column = place.column<kVec>(g);
        if (!place.has(job, column)) {
            continue;
        }
        FLUX_UNROLL
        for (int part = 0; part < 2; ++part) {
            store(total + part * channels + column, sums.scale[part][g]);
        }
        FLUX_UNROLL
        for (int part = 0; part < 3; ++part) {
            store(total + (2 + part) * channels + column, sums.bias[part][g]);
        }
    }
}

/// Whole vectors in heads, rows and tables, and one of them a lane.
template <class T>
bool is_wide_heads(const HeadsJob& job) {
    const int64_t size = job.head_size;
    return size <= kWarp * kWide<T> && is_wide<T>(job.qkv, size, job.stride) &&
           is_wide<float>(job.cos, size, size) && is_wide<float>(job.sin, size, size);
}

template <class T>
int launch_heads(void (*kernel)(HeadsJob), int per_lane, const HeadsJob& job, void* stream) {
    const int lanes = lanes_of_head(job.head_size, per_lane);
    return launch(kernel, job.rows.chunks() * blocks_of_chunk(job, lanes), kHeadThreads, job,
                  stream);
}

/// Without whole vectors a lane has pairs, kMaxCudaHeadSize / 64 of them at most.
template <class T>
int heads(const HeadsJob& job, void* stream) {
    constexpr int kVec = kWide<T>, kGroups = kMaxCudaHeadSize / (2 * kWarp);
    const bool wide = is_wide_heads<T>(job) && are_wide<T>(kVec, {job.q, job.k, job.v});
    return wide ? launch_heads<T>(heads_kernel<T, kVec, 1>, kVec, job, stream)
                : launch_heads<T>(heads_kernel<T, 2, kGroups>, 2, job, stream);
}

template <class T>
int heads_backward(const HeadsJob& job, void* stream) {
    constexpr int kVec = kWide<T>, kGroups = kMaxCudaHeadSize / (2 * kWarp);
    const bool wide =
        is_wide_heads<T>(job) && are_wide<T>(kVec, {job.dq, job.dk, job.dv, job.dqkv});
    return wide ? launch_heads<T>(heads_backward_kernel<T, kVec, 1>, kVec, job, stream)
                : launch_heads<T>(heads_backward_kernel<T, 2, kGroups>, 2, job, stream);
}

}  // namespace
}  // namespace flux::kernels
