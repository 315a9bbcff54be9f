// Runs jobs of row_kernels.h where their tensors live: CPU bodies on the threads of ATen, CUDA
// bodies on the current stream, which nothing here waits for.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <string>

#include "kernels/parallel.h"
#include "kernels/row_kernel_choice.h"
#include "kernels/row_kernels.h"

#ifdef FLUX_WITH_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace flux::kernels {

/// Whether there are bodies for the device and the dtype of `x`.
bool has_row_kernels(const at::Tensor& x);

/// Of [batch, tokens] rows on such a device, see chunk_count().
Rows rows_in_chunks(int64_t batch, int64_t tokens, c10::DeviceType device);
/// Of x: [B, T, any].
Rows rows_of(const at::Tensor& x);

/// Why `operation` on tensors like `x` was not launched. code: what its launcher returned.
std::string launch_problem(int code, const char* operation, const at::Tensor& x);

/// Runs the body that `select` takes from a table, for tensors like `x`.
template <class Job, class Select>
void run_rows(const at::Tensor& x, const Job& job, const Select& select) {
#ifdef FLUX_WITH_CUDA
    if (x.is_cuda()) {
        const c10::cuda::CUDAGuard guard(x.device());
        const RowKernels<CudaRowKernel>& kernels =
            x.scalar_type() == at::kFloat ? kRowKernelsCuda.fp32 : kRowKernelsCuda.bf16;
        const int code =
            select(kernels)(job, c10::cuda::getCurrentCUDAStream(x.device().index()).stream());
        TORCH_CHECK(code == 0, launch_problem(code, Job::kName, x));
        return;
    }
#endif
    const RowKernel<Job> kernel = select(cpu_kernels(x.scalar_type()).rows);
    at::parallel_for(0, job.rows.chunks(), 1,
                     [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
}

}  // namespace flux::kernels
