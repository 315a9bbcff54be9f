// The CUDA side of keyed_draw: raw pointers only, so that the .cu file includes no ATen header.
#pragma once

#include <cstdint>

#include "flux/base/philox.h"

namespace flux::kernels {

struct DrawJob {
    float* out;            // [rows, row_size]
    const int64_t* index;  // [rows] in device memory, or null: every row has `fixed_index`
    uint64_t fixed_index;
    int64_t rows;
    int64_t row_size;
    int64_t first;  // number of the first element of each row
    PhiloxKey key;
    uint32_t sub;
    bool normal;
};

/// Elements [4 * block, 4 * block + 4) of row `row`, those that lie inside the row.
FLUX_HOST_DEVICE inline void draw_block(const DrawJob& job, int64_t row, int64_t block) {
    const uint64_t index =
        job.index != nullptr ? static_cast<uint64_t>(job.index[row]) : job.fixed_index;
    const PhiloxBlock words = philox_block(job.key, index, job.sub, static_cast<uint32_t>(block));
    float values[4];
    if (job.normal) {
        to_normal(words.word[0], words.word[1], values);
        to_normal(words.word[2], words.word[3], values + 2);
    } else {
        for (int i = 0; i < 4; ++i) {
            values[i] = to_uniform(words.word[i]);
        }
    }
    float* out = job.out + row * job.row_size;
    for (int i = 0; i < 4; ++i) {
        const int64_t position = 4 * block + i - job.first;
        if (position >= 0 && position < job.row_size) {
            out[position] = values[i];
        }
    }
}

/// Launches on `stream` (a cudaStream_t). Returns the CUDA error code, 0 for success.
int launch_draw_cuda(const DrawJob& job, void* stream);

}  // namespace flux::kernels
