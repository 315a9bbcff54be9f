// The CUDA bodies of row_kernels.h and float8_job.h, compiled and launched.
#include <cuda_runtime.h>

#include "kernels/cuda_float8_columns.h"
#include "kernels/cuda_row_table.h"

namespace flux::kernels {
namespace {

template <class Job>
int launch(void (*kernel)(Job), int64_t blocks, int threads, const Job& job, void* stream) {
    if (blocks == 0) {
        return 0;
    }
    if (blocks > INT32_MAX) {
        return static_cast<int>(cudaErrorInvalidConfiguration);
    }
    kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), 0,
             static_cast<cudaStream_t>(stream)>>>(job);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

const KernelSet<RowKernels<CudaRowKernel>> kRowKernelsCuda{cuda_row_table<float>(),
                                                           cuda_row_table<Bf16>()};
const KernelSet<Float8Kernels> kFloat8KernelsCuda{cuda_float8_table<float>(),
                                                  cuda_float8_table<Bf16>()};

}  // namespace flux::kernels
