// CUDA bodies of casts to FP8 along rows: the largest magnitude, and a cast that finds that of its
// row itself. They compute bit by bit what float8_twin.cpp does. Numbers are rounded to FP8 in
// integers: the processor's own conversion is not there before compute capability 8.9.
#pragma once

#include "kernels/cuda_rows.h"
#include "kernels/float8_job.h"

namespace flux::kernels {
namespace {

constexpr int kCastThreads = 512;

__device__ inline uint32_t bits_of(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

/// Magnitudes in the order of their bits, NaN after infinity.
__device__ inline uint32_t magnitude_bits(float x) { return bits_of(x) & 0x7fffffffu; }
__device__ inline uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

/// Rounds to nearest, ties to even, as c10::Float8_e4m3fn and c10::Float8_e5m2 do.
struct Float8Format {
    __device__ explicit Float8Format(bool e5m2)
        : largest(e5m2 ? 57344.0f : 448.0f),
          shift(e5m2 ? 21 : 20),
          rebias(e5m2 ? ((15u - 127u) << 23) + 0xfffff : ((7u - 127u) << 23) + 0x7ffff),
          least_normal((e5m2 ? 113u : 121u) << 23),
          last_place((e5m2 ? 134u : 141u) << 23),
          beyond(e5m2 ? 143u << 23 : 1087u << 20),
          infinity(e5m2 ? 0x7c : 0x7f) {}

    __device__ uint32_t operator()(float x) const {
        const uint32_t all = bits_of(x), bits = all & 0x7fffffffu;
        // Next to a number whose last place is that of subnormal ones, addition rounds.
        const uint32_t small =
            bits_of(float_of_bits(bits) + float_of_bits(last_place)) - last_place;
        const uint32_t normal = (bits + rebias + (bits >> shift & 1u)) >> shift;
        const uint32_t large = bits > 0x7f800000u ? 0x7fu : infinity;
        return (bits >= beyond ? large : bits < least_normal ? small : normal) | (all ^ bits) >> 24;
    }

    float largest;
    int shift;
    uint32_t rebias;        // of the exponent, and almost half a step
    uint32_t least_normal;  // bits in fp32, like the next two
    uint32_t last_place;
    uint32_t beyond;    // the first that has no number
    uint32_t infinity;  // NaN where there is none
};

/// To the dtype and back.
template <class T, int kVec>
__device__ void round_to(float (&x)[kVec]) {
    if constexpr (sizeof(T) != sizeof(float)) {
        unpack(packed<T>(x), x);
    }
}

struct Float8Scale {
    float factor;
    float inverse;
};

/// See scale_of() in float8_twin.cpp.
template <class T>
__device__ Float8Scale float8_scale(const Float8Job& job, uint32_t largest) {
    constexpr float kLeast = 1e-30f;
    const float amax = float_of_bits(largest);
    float factor[1] = {1.0f / (amax < kLeast ? kLeast : amax) * Float8Format(job.e5m2).largest};
    if (job.powers) {
        factor[0] = exp2f(floorf(log2f(factor[0])));
    }
    round_to<T>(factor);
    return {factor[0], 1.0f / factor[0]};
}

/// Rounded once, whatever is added to it.
__device__ inline float times(float a, float b) {
#ifdef __CUDACC__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

/// Neighbouring bytes, four in a word.
template <int kVec>
using Bytes = Pack<Bf16, kVec / 2>;

template <class T, int kVec>
__device__ void put_float8(uint8_t* to, const Pack<T, kVec>& from, float factor,
                           const Float8Format& format) {
    float x[kVec];
    unpack(from, x);
    FLUX_UNROLL
    for (int i = 0; i < kVec; ++i) {
        x[i] = times(x[i], factor);
    }
    round_to<T>(x);
    if constexpr (kVec == 1) {
        *to = static_cast<uint8_t>(format(x[0]));
    } else {
        Bytes<kVec> bytes;
        FLUX_UNROLL
        for (int i = 0; i < kVec; i += 4) {
            bytes.pairs[i / 4] = format(x[i]) | format(x[i + 1]) << 8 | format(x[i + 2]) << 16 |
                                 format(x[i + 3]) << 24;
        }
        store(reinterpret_cast<Bf16*>(to), bytes);
    }
}

template <class T, int kVec>
__device__ uint32_t largest_of(const Pack<T, kVec>& pack, uint32_t largest) {
    float x[kVec];
    unpack(pack, x);
    FLUX_UNROLL
    for (int i = 0; i < kVec; ++i) {
        largest = larger(largest, magnitude_bits(x[i]));
    }
    return largest;
}

/// Over a block; once in a kernel.
__device__ inline uint32_t largest_in_block(uint32_t x) {
    using Parts = uint32_t[kCastThreads / kWarp];
    FLUX_SHARED(Parts, parts);
    x = __reduce_max_sync(0xffffffffu, x);
    if (threadIdx.x % kWarp == 0) {
        parts[threadIdx.x / kWarp] = x;
    }
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) {
        x = larger(x, parts[warp]);
    }
    return x;
}

constexpr int kLargestThreads = 256, kLargestAtOnce = 8;

/// Of everything. A block has kLargestAtOnce vectors of each thread.
template <class T, int kVec>
__global__ void __launch_bounds__(kLargestThreads) float8_largest_kernel(Float8Job job) {
    const int64_t count = job.rows.tokens * job.channels;
    const int64_t first = (int64_t{blockIdx.x} * kLargestAtOnce * blockDim.x + threadIdx.x) * kVec;
    Pack<T, kVec> packs[kLargestAtOnce] = {};
    FLUX_UNROLL
    for (int i = 0; i < kLargestAtOnce; ++i) {
        const int64_t index = first + int64_t{i} * blockDim.x * kVec;
        if (index < count) {
            packs[i] = load<kVec>(at<T>(job.x, index));
        }
    }
    uint32_t largest = 0;
    FLUX_UNROLL
    for (int i = 0; i < kLargestAtOnce; ++i) {
        largest = largest_of(packs[i], largest);
    }
    largest = largest_in_block(largest);
    if (threadIdx.x == 0) {
        atomicMax(job.largest, largest);  // in no matter what order
    }
}

/// A block's row of x and of what stands beside it.
template <class T>
struct Float8Row {
    __device__ explicit Float8Row(const Float8Job& job)
        : x(at<T>(job.x, int64_t{blockIdx.x} * job.channels)),
          other(at<T>(job.other, int64_t{blockIdx.x} * job.other_channels)),
          channels(job.channels),
          width(job.channels + job.other_channels),
          out(job.out + int64_t{blockIdx.x} * job.stride) {}

    template <int kVec>
    __device__ Pack<T, kVec> read(int64_t column) const {
        return load<kVec>(column < channels ? x + column : other + (column - channels));
    }

    const T* x;
    const T* other;
    int64_t channels;
    int64_t width;
    uint8_t* out;
};

/// From the row's own largest number, or the one that is given for all; keeps the inverse.
template <class T>
__device__ float row_factor(const Float8Job& job, uint32_t largest_here) {
    const bool own = job.largest == nullptr;
    const Float8Scale scale =
        float8_scale<T>(job, own ? largest_in_block(largest_here) : *job.largest);
    if (threadIdx.x == 0 && (own || blockIdx.x == 0)) {
        job.inverse[own ? blockIdx.x : 0] = scale.inverse;
    }
    return scale.factor;
}

/// A block casts a row, which stays in registers, kGroups vectors a thread.
template <class T, int kVec, int kGroups>
__global__ void __launch_bounds__(kCastThreads) float8_rows_kernel(Float8Job job) {
    const Float8Row<T> row(job);
    const auto column_of = [](int group) {
        return (int64_t{blockDim.x} * group + threadIdx.x) * kVec;
    };
    Pack<T, kVec> packs[kGroups] = {};
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        if (column_of(g) < row.width) {
            packs[g] = row.template read<kVec>(column_of(g));
        }
    }
    uint32_t largest = 0;
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        largest = largest_of(packs[g], largest);
    }
    const float factor = row_factor<T>(job, largest);
    const Float8Format format(job.e5m2);
    FLUX_UNROLL
    for (int g = 0; g < kGroups; ++g) {
        if (column_of(g) < row.width) {
            put_float8(row.out + column_of(g), packs[g], factor, format);
        }
    }
}

/// For rows that registers do not hold, which are read twice, or that are not whole vectors.
template <class T, int kVec>
__global__ void __launch_bounds__(kCastThreads) float8_any_rows_kernel(Float8Job job) {
    const Float8Row<T> row(job);
    const int64_t first = int64_t{threadIdx.x} * kVec, step = int64_t{blockDim.x} * kVec;
    uint32_t largest = 0;
    if (job.largest == nullptr) {
        for (int64_t column = first; column < row.width; column += step) {
            largest = largest_of(row.template read<kVec>(column), largest);
        }
    }
    const float factor = row_factor<T>(job, largest);
    const Float8Format format(job.e5m2);
    for (int64_t column = first; column < row.width; column += step) {
        put_float8(row.out + column, row.template read<kVec>(column), factor, format);
    }
}

template <class T>
int float8_largest(const Float8Job& job, void* stream) {
    const int64_t count = job.rows.tokens * job.channels;
    const auto blocks = [&](int64_t vector) {
        return round_up(count, kLargestThreads * kLargestAtOnce * vector) /
               (kLargestThreads * kLargestAtOnce * vector);
    };
    constexpr int kVec = kWide<T>;
    return is_wide<T>(job.x, count, 0)
               ? launch(float8_largest_kernel<T, kVec>, blocks(kVec), kLargestThreads, job, stream)
               : launch(float8_largest_kernel<T, 1>, blocks(1), kLargestThreads, job, stream);
}

/// Some warps with several loads on their way each, and more only for the widest rows.
template <class T>
int float8_rows(const Float8Job& job, void* stream) {
    using Kernel = void (*)(Float8Job);
    struct Choice {
        Kernel kernel;
        int64_t groups, most_threads;
    };
    constexpr int kVec = kWide<T>;
    constexpr Choice kChoices[] = {{float8_rows_kernel<T, kVec, 1>, 1, 256},
                                   {float8_rows_kernel<T, kVec, 2>, 2, 256},
                                   {float8_rows_kernel<T, kVec, 4>, 4, 256},
                                   {float8_rows_kernel<T, kVec, 8>, 8, kCastThreads}};
    const bool wide = is_wide<T>(job.x, job.channels, 0) &&
                      is_wide<T>(job.other, job.other_channels, 0) &&
                      reinterpret_cast<uintptr_t>(job.out) % kVec == 0 && job.stride % kVec == 0;
    if (!wide) {
        return launch(float8_any_rows_kernel<T, 1>, job.rows.tokens, 256, job, stream);
    }
    const int64_t vectors = (job.channels + job.other_channels) / kVec;
    for (const Choice& choice : kChoices) {
        const int64_t threads = round_up((vectors + choice.groups - 1) / choice.groups, kWarp);
        if (threads <= choice.most_threads) {
            return launch(choice.kernel, job.rows.tokens, static_cast<int>(threads), job, stream);
        }
    }
    return launch(float8_any_rows_kernel<T, kVec>, job.rows.tokens, kCastThreads, job, stream);
}

}  // namespace
}  // namespace flux::kernels
