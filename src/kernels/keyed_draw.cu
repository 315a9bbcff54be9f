// One thread a block of four numbers.
#include <cuda_runtime.h>

#include "kernels/keyed_draw_kernel.h"

namespace flux::kernels {
namespace {

__global__ void draw_kernel(DrawJob job, int64_t first_block, int64_t blocks) {
    const int64_t total = job.rows * blocks;
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
         i += stride) {
        draw_block(job, i / blocks, first_block + i % blocks);
    }
}

}  // namespace

int launch_draw_cuda(const DrawJob& job, void* stream) {
    const int64_t first_block = job.first / 4;
    const int64_t blocks = (job.first + job.row_size + 3) / 4 - first_block;
    const int64_t total = job.rows * blocks;
    if (total == 0) {
        return 0;
    }
    constexpr int kThreads = 256;
    const int64_t grid = (total + kThreads - 1) / kThreads;
    draw_kernel<<<static_cast<unsigned>(grid < 65535 ? grid : 65535), kThreads, 0,
                  static_cast<cudaStream_t>(stream)>>>(job, first_block, blocks);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace flux::kernels
