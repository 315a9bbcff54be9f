// CUDA bodies of casts to FP8 along columns: the largest magnitude of each, and casts that
// transpose. A block takes a tile: it reads along rows, puts the bytes of four rows of a column
// into a word in shared memory, and writes along columns, so that both sides move whole vectors.
#pragma once

#include "kernels/cuda_columns.h"
#include "kernels/cuda_float8.h"

namespace flux::kernels {
namespace {

/// As columns of cuda_columns.h.
template <class T, int kVec>
struct LargestOfColumns {
    using Job = Float8Job;

    __device__ static void run(const Job& job, const ColumnPlace& place) {
        uint32_t largest[kVec] = {};
        for_rows<kVec, 1, T>(place.count, place.first_of<T>(job.x, job.channels), job.channels,
                             nullptr, 0, [&](int64_t, float(&x)[kVec], const float(&)[kVec]) {
                                 FLUX_UNROLL
                                 for (int i = 0; i < kVec; ++i) {
                                     largest[i] = larger(largest[i], magnitude_bits(x[i]));
                                 }
                             });
        for (int i = 0; i < kVec; ++i) {
            atomicMax(job.largest + place.column + i, largest[i]);
        }
    }
    static bool is_wide(const Job& job) { return are_wide<T>(job.channels, {job.x}); }
};

constexpr int kTile = 64, kTileThreads = 128, kFour = 4;

/// Where a block's tile begins. Tiles that follow each other write neighbouring bytes.
struct TilePlace {
    __device__ explicit TilePlace(const Float8Job& job) {
        const int64_t tiles = (job.stride + kTile - 1) / kTile;
        row = blockIdx.x % tiles * kTile;
        column = blockIdx.x / tiles * kTile;
    }
    int64_t row;
    int64_t column;
};

constexpr int64_t tile_count(const Float8Job& job) {
    return round_up(job.stride, kTile) / kTile * (round_up(job.channels, kTile) / kTile);
}

/// Bytes of each column of a tile, with a word that keeps columns in different banks.
struct Tile {
    uint32_t words[kTile][kTile / kFour + 1];
};

/// fill(row, column, words): the bytes of four rows of some columns, zeros beyond the last row.
template <int kVec, class Fill>
__device__ void fill_tile(const TilePlace& place, int64_t channels, Tile& tile, const Fill& fill) {
    constexpr int kGroups = kTile / kVec;
    for (int i = static_cast<int>(threadIdx.x); i < kGroups * kTile / kFour; i += kTileThreads) {
        const int column = i % kGroups * kVec, four = i / kGroups;
        uint32_t words[kVec] = {};
        if (place.column + column < channels) {
            fill(place.row + four * kFour, column, words);
        }
        FLUX_UNROLL
        for (int k = 0; k < kVec; ++k) {
            tile.words[column + k][four] = words[k];
        }
    }
    __syncthreads();
}

__device__ inline void write_tile(const Float8Job& job, const TilePlace& place, const Tile& tile) {
    constexpr int kBytes = 16, kVectors = kTile / kBytes;
    for (int i = static_cast<int>(threadIdx.x); i < kTile * kVectors; i += kTileThreads) {
        const int column = i / kVectors, row = i % kVectors * kBytes;
        if (place.column + column < job.channels && place.row + row < job.stride) {
            Bytes<kBytes> bytes;
            FLUX_UNROLL
            for (int k = 0; k < kFour; ++k) {
                bytes.pairs[k] = tile.words[column][row / kFour + k];
            }
            store(reinterpret_cast<Bf16*>(job.out + (place.column + column) * job.stride +
                                          place.row + row),
                  bytes);
        }
    }
}

/// Factors of a tile's columns; the tiles of the first rows keep the inverses.
template <class T>
__device__ void find_factors(const Float8Job& job, const TilePlace& place,
                             float (&factors)[kTile]) {
    const int64_t column = place.column + threadIdx.x;
    if (threadIdx.x < kTile && column < job.channels) {
        const int64_t index = job.of_columns ? column : 0;
        const Float8Scale scale = float8_scale<T>(job, job.largest[index]);
        factors[threadIdx.x] = scale.factor;
        if (place.row == 0 && (job.of_columns || column == 0)) {
            job.inverse[index] = scale.inverse;
        }
    }
    __syncthreads();
}

template <class T, int kVec>
__global__ void __launch_bounds__(kTileThreads) float8_columns_kernel(Float8Job job) {
    using Factors = float[kTile];
    FLUX_SHARED(Factors, factors);
    FLUX_SHARED(Tile, tile);
    const TilePlace place(job);
    const Float8Format format(job.e5m2);
    find_factors<T>(job, place, factors);
    fill_tile<kVec>(
        place, job.channels, tile, [&](int64_t row, int column, uint32_t(&words)[kVec]) {
            Pack<T, kVec> packs[kFour] = {};
            const T* const from = at<T>(job.x, row * job.channels + place.column + column);
            FLUX_UNROLL
            for (int r = 0; r < kFour; ++r) {
                if (row + r < job.rows.tokens) {
                    packs[r] = load<kVec>(from + r * job.channels);
                }
            }
            FLUX_UNROLL
            for (int r = 0; r < kFour; ++r) {
                float x[kVec];
                unpack(packs[r], x);
                FLUX_UNROLL
                for (int i = 0; i < kVec; ++i) {
                    x[i] = times(x[i], factors[column + i]);
                }
                round_to<T>(x);
                FLUX_UNROLL
                for (int i = 0; i < kVec; ++i) {  // a factor that is not finite spoils no filling
                    words[i] |= row + r < job.rows.tokens ? format(x[i]) << 8 * r : 0u;
                }
            }
        });
    write_tile(job, place, tile);
}

/// Bytes of kVec columns, in words.
template <int kVec>
__device__ Bytes<kVec> load_bytes(const uint8_t* from) {
    return load<kVec / 2>(reinterpret_cast<const Bf16*>(from));
}

/// Of bytes.
template <int kVec>
__global__ void __launch_bounds__(kTileThreads) float8_transpose_kernel(Float8Job job) {
    FLUX_SHARED(Tile, tile);
    const TilePlace place(job);
    fill_tile<kVec>(
        place, job.channels, tile, [&](int64_t row, int column, uint32_t(&words)[kVec]) {
            Bytes<kVec> bytes[kFour] = {};
            const auto* const from = at<uint8_t>(job.x, row * job.channels + place.column + column);
            FLUX_UNROLL
            for (int r = 0; r < kFour; ++r) {
                if (row + r < job.rows.tokens) {
                    bytes[r] = load_bytes<kVec>(from + r * job.channels);
                }
            }
            FLUX_UNROLL
            for (int r = 0; r < kFour; ++r) {
                FLUX_UNROLL
                for (int i = 0; i < kVec; ++i) {
                    words[i] |= (bytes[r].pairs[i / 4] >> i % 4 * 8 & 0xffu) << 8 * r;
                }
            }
        });
    write_tile(job, place, tile);
}

template <class T>
int float8_largest_of_columns(const Float8Job& job, void* stream) {
    return launch_columns<LargestOfColumns, T>(job, stream);
}

template <class T>
int float8_columns(const Float8Job& job, void* stream) {
    const auto kernel = is_wide<T>(job.x, job.channels, 0) ? float8_columns_kernel<T, kWide<T>>
                                                           : float8_columns_kernel<T, 1>;
    return launch(kernel, tile_count(job), kTileThreads, job, stream);
}

/// What is in FP8 has been cast here, into whole vectors.
inline int float8_transpose(const Float8Job& job, void* stream) {
    constexpr int kVec = 8;
    const bool whole = reinterpret_cast<uintptr_t>(job.x) % kVec == 0 && job.channels % kVec == 0;
    return whole ? launch(float8_transpose_kernel<kVec>, tile_count(job), kTileThreads, job, stream)
                 : kNoKernel;
}

template <class T>
constexpr Float8Kernels cuda_float8_table() {
    Float8Kernels table{};
    table.largest = float8_largest<T>;
    table.largest_of_columns = float8_largest_of_columns<T>;
    table.rows = float8_rows<T>;
    table.columns = float8_columns<T>;
    table.transpose = float8_transpose;
    return table;
}

}  // namespace
}  // namespace flux::kernels
