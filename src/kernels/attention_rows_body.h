// The bodies of attention_rows.h; part of row_kernels_body.h for AVX2 and AVX-512.
#pragma once

#include <utility>

#include "kernels/attention_rows.h"
#include "kernels/row_common.h"
#include "kernels/row_numbers.h"

namespace flux::kernels {
namespace {

/// Two neighbours of a bf16 row, wherever it begins.
struct __attribute__((packed, may_alias, aligned(2))) Bf16Pair {
    uint32_t bits;
};

inline Bf16Pair pair_of(Bf16 first, Bf16 second) {
    return {first.bits | static_cast<uint32_t>(second.bits) << 16};
}

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif
using Lanes = uint32_t __attribute__((vector_size(4 * kLanes)));
using LanesAnywhere = uint32_t __attribute__((vector_size(4 * kLanes), aligned(2), may_alias));

/// In each two rows that lie `kWidth` apart, the second half of each 2 kWidth lanes of the first
/// changes places with the first half of the second's.
template <int kWidth, int... lanes>
inline void exchange(Lanes* rows, std::integer_sequence<int, lanes...>) {
    constexpr Lanes kFirst{(lanes & kWidth ? kLanes + lanes - kWidth : lanes)...};
    constexpr Lanes kSecond{(lanes & kWidth ? kLanes + lanes : lanes + kWidth)...};
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
        if ((i & kWidth) == 0) {
            const Lanes a = rows[i], b = rows[i + kWidth];
            rows[i] = __builtin_shuffle(a, b, kFirst);
            rows[i + kWidth] = __builtin_shuffle(a, b, kSecond);
        }
    }
}

/// A square of as many rows as a vector has lanes.
template <class U>
inline void transpose_square(const U* from, int64_t stride, U* to, int64_t to_stride) {
    constexpr std::make_integer_sequence<int, kLanes> kAll{};
    Lanes rows[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
        rows[i] = *reinterpret_cast<const LanesAnywhere*>(from + i * stride);
    }
    exchange<1>(rows, kAll);
    exchange<2>(rows, kAll);
    exchange<4>(rows, kAll);
    if constexpr (kLanes > 8) {
        exchange<8>(rows, kAll);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
        *reinterpret_cast<LanesAnywhere*>(to + i * to_stride) = rows[i];
    }
}

/// to[c, r] = from[r, c]; zeros from `rows` to `to_stride`.
template <class U>
void transpose_tile(const U* __restrict from, int64_t stride, int64_t rows, int64_t columns,
                    U* __restrict to, int64_t to_stride) {
    for (int64_t first = 0; first < rows; first += kLanes) {
        const bool all = sizeof(U) == sizeof(uint32_t) && first + kLanes <= rows;
        const int64_t last = first + kLanes < rows ? first + kLanes : rows;
        const int64_t squares = all ? columns / kLanes * kLanes : 0;
        for (int64_t c = 0; c < squares; c += kLanes) {
            transpose_square(from + first * stride + c, stride, to + c * to_stride + first,
                             to_stride);
        }
        for (int64_t c = squares; c < columns; ++c) {
            for (int64_t r = first; r < last; ++r) {
                to[c * to_stride + r] = from[r * stride + c];
            }
        }
    }
    for (int64_t c = 0; c < columns; ++c) {
        for (int64_t r = rows; r < to_stride; ++r) {
            to[c * to_stride + r] = U{};
        }
    }
}

template <class T>
void transpose(const PackJob& job) {
    transpose_tile(at<T>(job.from, 0), job.stride, job.rows, job.columns, at<T>(job.to, 0),
                   job.to_stride);
}

/// Panels of the tile's columns: products sum over its rows.
template <class T>
void pack_rows(const PackJob& job);

template <>
inline void pack_rows<float>(const PackJob& job) {
    float* __restrict to = at<float>(job.to, 0);
    for (int64_t first = 0; first < job.columns; first += kPanel) {
        const int64_t count = job.columns - first < kPanel ? job.columns - first : kPanel;
        for (int64_t r = 0; r < job.rows; ++r, to += kPanel) {
            const float* const __restrict from = at<float>(job.from, r * job.stride + first);
            for (int64_t i = 0; i < count; ++i) {
                to[i] = from[i];
            }
        }
    }
}

template <>
inline void pack_rows<Bf16>(const PackJob& job) {
    Bf16Pair* __restrict to = at<Bf16Pair>(job.to, 0);
    for (int64_t first = 0; first < job.columns; first += kPanel) {
        const int64_t count = job.columns - first < kPanel ? job.columns - first : kPanel;
        for (int64_t r = 0; r < job.rows; r += 2, to += kPanel) {
            const Bf16* const __restrict from = at<Bf16>(job.from, r * job.stride + first);
            const bool both = r + 1 < job.rows;
            const Bf16* const __restrict next = both ? from + job.stride : from;
            const uint16_t mask = both ? 0xffff : 0;
            for (int64_t i = 0; i < count; ++i) {
                to[i] = pair_of(from[i], {static_cast<uint16_t>(next[i].bits & mask)});
            }
        }
    }
}

/// What a panel holds of a row at a time: a number, or two neighbours.
template <class T>
struct Together;
template <>
struct Together<float> {
    using Unit = float;
};
template <>
struct Together<Bf16> {
    using Unit = Bf16Pair;
};

/// Panels of the tile's rows: products sum over its columns (for bf16 an even number, and an even
/// stride).
template <class T>
void pack_columns(const PackJob& job) {
    using Unit = typename Together<T>::Unit;
    constexpr int64_t kTogether = sizeof(Unit) / sizeof(T);
    const int64_t columns = job.columns / kTogether, stride = job.stride / kTogether;
    const Unit* from = at<Unit>(job.from, 0);
    Unit* to = at<Unit>(job.to, 0);
    for (int64_t first = 0; first < job.rows; first += kPanel) {
        const int64_t rows = job.rows - first < kPanel ? job.rows - first : kPanel;
        transpose_tile(from + first * stride, stride, rows, columns, to, kPanel);
        to += columns * kPanel;
    }
}

constexpr float kLog2e = 1.44269504f;

/// 2^x for x that are not above 0 by more than rounding, within 2 ulp; below -125 the value there.
inline float power_of_two(float x) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    x = x < -125.0f ? -125.0f : x;
    const float shifted = x + kRound;
    const float r = x - (shifted - kRound);
    float p = 0.000154614447f;  // through 2^r at Chebyshev's points of [-1/2, 1/2]
    p = p * r + 0.00134004282f;
    p = p * r + 0.00961805668f;
    p = p * r + 0.0555032723f;
    p = p * r + 0.240226509f;
    p = p * r + 0.693147207f;
    p = p * r + 1.0f;
    // The integer stands in the last bits of `shifted`. Its power is multiplied, which is exact,
    // and not added to the exponent of p: NaN has to stay NaN whatever its bits are.
    constexpr uint32_t kOne = 0x3f800000;
    return p * __builtin_bit_cast(float, (__builtin_bit_cast(uint32_t, shifted) << 23) + kOne);
}

/// To nearest, ties away from zero: a third of put()'s work, for numbers that only products read.
inline void put_near(float& to, float x) { to = x; }
inline void put_near(Bf16& to, float x) {
    const auto bits = __builtin_bit_cast(uint32_t, x);
    to.bits = static_cast<uint16_t>(x != x ? 0x7fc0 : (bits + 0x8000) >> 16);
}

template <class T>
void softmax(const SoftmaxJob& job) {
    const float scale = job.scale * kLog2e;
    for (int64_t row = 0; row < job.queries; ++row) {
        const float* const scores = job.scores + row * job.stride;
        T* const weights = at<T>(job.weights, row * job.stride);
        float largest = scores[0];
#pragma omp simd reduction(max : largest)
        for (int64_t i = 0; i < job.keys; ++i) {
            largest = scores[i] > largest ? scores[i] : largest;
        }
        largest *= scale;
        float before = 0;
        if (!job.first) {
            largest = job.largest[row] > largest ? job.largest[row] : largest;
            const float factor = power_of_two(job.largest[row] - largest);
            before = job.sum[row] * factor;
            float* const result = job.result + row * job.result_stride;
            if (factor != 1.0f) {
#pragma omp simd
                for (int64_t i = 0; i < job.width; ++i) {
                    result[i] *= factor;
                }
            }
        }
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < job.keys; ++i) {
            const float weight = power_of_two(scores[i] * scale - largest);
            sum += weight;
            put_near(weights[i], weight);
        }
        if (job.keys % 2 != 0) {  // the bf16 product takes two at a time
            weights[job.keys] = T{};
        }
        job.largest[row] = largest;
        job.sum[row] = before + sum;
    }
}

/// One key's gradients of scores, which may take the place of what they come from.
template <class T>
inline void softmax_backward_row(const SoftmaxBackwardJob& job, int64_t key, int64_t columns) {
    const int64_t offset = key * kPanel;
    const float *const scores = job.scores + offset, *const dweights = job.dweights + offset;
    const float *const log_sum = job.log_sum, *const projection = job.projection;
    T *const weights = at<T>(job.weights, offset), *const dscores = at<T>(job.dscores, offset);
    const float scale = job.scale * kLog2e, slope = job.scale;
#pragma omp simd
    for (int64_t i = 0; i < columns; ++i) {
        const float weight = power_of_two(scores[i] * scale - log_sum[i]);
        const float dscore = weight * (dweights[i] - projection[i]) * slope;
        put_near(weights[i], weight);
        put_near(dscores[i], dscore);
    }
}

template <class T>
void softmax_backward(const SoftmaxBackwardJob& job) {
    for (int64_t key = 0; key < job.keys; ++key) {
        if (job.columns == kPanel) {  // the common case, whose loop has no rest
            softmax_backward_row<T>(job, key, kPanel);
        } else {
            softmax_backward_row<T>(job, key, job.columns);
        }
    }
    if (job.panel != nullptr) {
        pack_rows<T>({job.dscores, kPanel, job.keys, job.columns, job.panel, 0});
    }
}

template <class T>
void row_products(const RowProductsJob& job) {
    for (int64_t row = 0; row < job.rows; ++row) {
        const T *const a = at<T>(job.a, row * job.stride), *const b =
                                                               at<T>(job.b, row * job.stride);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < job.columns; ++i) {
            sum += value(a[i]) * value(b[i]);
        }
        job.sums[row] = sum;
    }
}

template <class T>
void put_rows(const PutRowsJob& job) {
    for (int64_t row = 0; row < job.rows; ++row) {
        const float* const __restrict from = job.from + row * job.stride;
        T* const __restrict to = at<T>(job.to, row * job.to_stride);
        const float factor = job.divisors == nullptr ? 1.0f : 1.0f / job.divisors[row];
#pragma omp simd
        for (int64_t i = 0; i < job.columns; ++i) {
            put(to[i], from[i] * factor);
        }
    }
}

}  // namespace
}  // namespace flux::kernels
