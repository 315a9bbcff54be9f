// What the CUDA bodies of row_kernels.h are made of: numbers side by side in vectors, sums over
// lanes and over a block, and the start of a kernel. It is written so that a C++ compiler takes it
// too: tests run the kernels on the host, where tests/kernels/cuda_on_host.h stands in for CUDA.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/row_common.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#define FLUX_UNROLL _Pragma("unroll")
#define FLUX_CHECK_ALIGNED(address, bytes)  // the GPU does
#define FLUX_SHARED(Type, name) __shared__ Type name
#else
#define FLUX_UNROLL
#define FLUX_CHECK_ALIGNED(address, bytes) host_check_aligned(address, bytes)
#define FLUX_SHARED(Type, name) \
    static Type name;           \
    host_shared(&name, sizeof name)
#endif

namespace flux::kernels {
namespace {

constexpr int kWarp = 32;

/// Starts `blocks` blocks of `threads` threads, a multiple of kWarp. Who includes this defines it.
template <class Job>
int launch(void (*kernel)(Job), int64_t blocks, int threads, const Job& job, void* stream);

constexpr int64_t round_up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

/// A power of two of neighbouring numbers, which are read and written 16 bytes at a time.
template <class T, int kCount>
struct alignas(kCount < 4 ? 4 * kCount : 16) [[gnu::may_alias]] Pack {
    float numbers[kCount];  // T is float
};
template <int kCount>
struct alignas(kCount < 8 ? 2 * kCount : 16) [[gnu::may_alias]] Pack<Bf16, kCount> {
    uint32_t pairs[kCount / 2];  // the first of each pair in the lower half
};
template <>
struct [[gnu::may_alias]] Pack<Bf16, 1> {
    uint16_t bits;
};

__device__ inline float float_of_bits(uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

template <int kCount>
__device__ void unpack(const Pack<float, kCount>& from, float (&to)[kCount]) {
    FLUX_UNROLL
    for (int i = 0; i < kCount; ++i) {
        to[i] = from.numbers[i];
    }
}
template <int kCount>
__device__ void unpack(const Pack<Bf16, kCount>& from, float (&to)[kCount]) {
    if constexpr (kCount == 1) {
        to[0] = float_of_bits(static_cast<uint32_t>(from.bits) << 16);
    } else {
        FLUX_UNROLL
        for (int i = 0; i < kCount / 2; ++i) {
            to[2 * i] = float_of_bits(from.pairs[i] << 16);
            to[2 * i + 1] = float_of_bits(from.pairs[i] & 0xffff0000u);
        }
    }
}

/// Two numbers rounded to bf16, to nearest, ties to even.
__device__ inline uint32_t bf16_pair(float low, float high) {
#ifdef __CUDACC__
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    uint32_t bits;
    __builtin_memcpy(&bits, &pair, sizeof bits);
    return bits;
#else
    return host_bf16_pair(low, high);
#endif
}

template <class T, int kCount>
__device__ Pack<T, kCount> packed(const float (&from)[kCount]) {
    Pack<T, kCount> to;
    if constexpr (sizeof(T) == sizeof(float)) {
        FLUX_UNROLL
        for (int i = 0; i < kCount; ++i) {
            to.numbers[i] = from[i];
        }
    } else if constexpr (kCount == 1) {
        to.bits = static_cast<uint16_t>(bf16_pair(from[0], 0.0f));
    } else {
        FLUX_UNROLL
        for (int i = 0; i < kCount / 2; ++i) {
            to.pairs[i] = bf16_pair(from[2 * i], from[2 * i + 1]);
        }
    }
    return to;
}

template <int kCount, class T>
__device__ Pack<T, kCount> load(const T* from) {
    FLUX_CHECK_ALIGNED(from, alignof(Pack<T, kCount>));
    return *reinterpret_cast<const Pack<T, kCount>*>(from);
}
template <class T, int kCount>
__device__ void store(T* to, const Pack<T, kCount>& pack) {
    FLUX_CHECK_ALIGNED(to, alignof(Pack<T, kCount>));
#ifdef __CUDACC__
    // The compiler would split some that it has built from single numbers.
    using Words = std::conditional_t<sizeof pack % 16 == 0, uint4, uint2>;
    if constexpr (sizeof pack % sizeof(Words) == 0) {
        FLUX_UNROLL
        for (size_t i = 0; i < sizeof pack / sizeof(Words); ++i) {
            Words words;
            __builtin_memcpy(&words, reinterpret_cast<const Words*>(&pack) + i, sizeof words);
            __stwb(reinterpret_cast<Words*>(to) + i, words);
        }
        return;
    }
#endif
    *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}
template <class T, int kCount>
__device__ void store(T* to, const float (&from)[kCount]) {
    store(to, packed<T>(from));
}

/// From any address; zeros if it is null.
template <int kCount, class T>
__device__ Pack<T, kCount> load_anywhere(const T* from) {
    if (from == nullptr) {
        return {};
    }
    if (reinterpret_cast<uintptr_t>(from) % alignof(Pack<T, kCount>) == 0) {
        return load<kCount>(from);
    }
    Pack<T, kCount> all;
    for (int i = 0; i < kCount; ++i) {
        reinterpret_cast<T*>(&all)[i] = from[i];
    }
    return all;
}
template <class T, int kCount>
__device__ void store_anywhere(T* to, const Pack<T, kCount>& pack) {
    if (reinterpret_cast<uintptr_t>(to) % alignof(Pack<T, kCount>) == 0) {
        store(to, pack);
        return;
    }
    for (int i = 0; i < kCount; ++i) {
        to[i] = reinterpret_cast<const T*>(&pack)[i];
    }
}

/// Sums over `lanes` neighbouring lanes, a power of two; all threads of the warp take part.
template <int kCount>
__device__ void add_lanes(float (&x)[kCount], int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) {
        FLUX_UNROLL
        for (int i = 0; i < kCount; ++i) {
            x[i] += __shfl_xor_sync(0xffffffffu, x[i], step);
        }
    }
}

/// Sums over a block, each in the same order in all threads. A kernel has one of these. The two
/// halves of `parts` take turns, so that one barrier a sum is enough: who writes a half again has
/// passed the barrier of the other, before which all have read this one.
template <int kCount, int kMaxThreads>
class BlockSums {
public:
    __device__ void operator()(float (&x)[kCount]) {
        using Parts = float[2][kMaxThreads / kWarp][kCount];
        FLUX_SHARED(Parts, parts);
        add_lanes(x, kWarp);
        const int warp = static_cast<int>(threadIdx.x) / kWarp;
        const int warps = static_cast<int>(blockDim.x) / kWarp;
        if (threadIdx.x % kWarp == 0) {
            for (int i = 0; i < kCount; ++i) {
                parts[turn_][warp][i] = x[i];
            }
        }
        __syncthreads();
        for (int i = 0; i < kCount; ++i) {
            x[i] = 0.0f;
            for (int w = 0; w < warps; ++w) {
                x[i] += parts[turn_][w][i];
            }
        }
        turn_ ^= 1;
    }

private:
    int turn_ = 0;
};

/// Numbers in 16 bytes.
template <class T>
constexpr int kWide = static_cast<int>(16 / sizeof(T));

/// Whether rows of `width` elements, each at `from` plus multiples of `stride`, are whole vectors.
template <class T>
bool is_wide(const void* from, int64_t width, int64_t stride) {
    return reinterpret_cast<uintptr_t>(from) % 16 == 0 && width % kWide<T> == 0 &&
           stride % kWide<T> == 0;
}

/// Whether that is so of all these, whose rows follow each other.
template <class T, int kCount>
bool are_wide(int64_t width, const void* const (&tensors)[kCount]) {
    bool wide = true;
    for (const void* tensor : tensors) {
        wide = wide && is_wide<T>(tensor, width, width);
    }
    return wide;
}

}  // namespace
}  // namespace flux::kernels
