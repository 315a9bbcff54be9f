#include "flux/kernels/keyed_draw.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <vector>

#include "kernels/keyed_draw_kernel.h"
#include "kernels/run_rows.h"

namespace flux::kernels {
namespace {

void draw_on_cpu(const DrawJob& job) {
    const int64_t first_block = job.first / 4;
    const int64_t blocks = (job.first + job.row_size + 3) / 4 - first_block;
    at::parallel_for(0, job.rows * blocks, 4096, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            draw_block(job, i / blocks, first_block + i % blocks);
        }
    });
}

#ifdef FLUX_WITH_CUDA
void draw_on_cuda(const DrawJob& job, const at::Tensor& out) {
    const c10::cuda::CUDAGuard guard(out.device());
    const int code =
        launch_draw_cuda(job, c10::cuda::getCurrentCUDAStream(out.device().index()).stream());
    TORCH_CHECK(code == 0, launch_problem(code, "keyed_draw", out));
}
#endif

/// Runs the job where `out` lives. Without the CUDA kernel the numbers are drawn on the host and
/// copied.
void run(DrawJob job, at::Tensor& out, const at::Tensor& index) {
    TORCH_CHECK(out.is_contiguous() && out.scalar_type() == at::kFloat,
                "keyed draws fill contiguous fp32 tensors");
    TORCH_CHECK(job.first + job.row_size <= int64_t{1} << 34,
                "a keyed draw has at most 2^34 elements a row");
    if (out.is_cpu()) {
        job.out = out.data_ptr<float>();
        job.index = index.defined() ? index.const_data_ptr<int64_t>() : nullptr;
        draw_on_cpu(job);
        return;
    }
#ifdef FLUX_WITH_CUDA
    job.out = out.data_ptr<float>();
    job.index = index.defined() ? index.const_data_ptr<int64_t>() : nullptr;
    draw_on_cuda(job, out);
#else
    at::Tensor host = at::empty(out.sizes(), out.options().device(at::kCPU));
    run(job, host, index.defined() ? index.cpu() : index);
    out.copy_(host);
#endif
}

at::Tensor draw_rows(bool normal, const DrawKey& key, const at::Tensor& index,
                     at::IntArrayRef row_shape) {
    TORCH_CHECK(index.dim() == 1 && index.scalar_type() == at::kLong, "index must be int64 [N]");
    std::vector<int64_t> shape{index.size(0)};
    int64_t row_size = 1;
    for (const int64_t extent : row_shape) {
        shape.push_back(extent);
        row_size *= extent;
    }
    at::Tensor out = at::empty(shape, index.options().dtype(at::kFloat));
    run({.out = nullptr,
         .index = nullptr,
         .fixed_index = 0,
         .rows = index.size(0),
         .row_size = row_size,
         .first = 0,
         .key = philox_key(key.seed, key.purpose),
         .sub = key.sub,
         .normal = normal},
        out, index.contiguous());
    return out;
}

}  // namespace

at::Tensor keyed_normal(const DrawKey& key, const at::Tensor& index, at::IntArrayRef row_shape) {
    return draw_rows(true, key, index, row_shape);
}

at::Tensor keyed_uniform(const DrawKey& key, const at::Tensor& index, at::IntArrayRef row_shape) {
    return draw_rows(false, key, index, row_shape);
}

void keyed_fill_(at::Tensor& out, Distribution distribution, const DrawKey& key, uint64_t index,
                 int64_t first) {
    run({.out = nullptr,
         .index = nullptr,
         .fixed_index = index,
         .rows = 1,
         .row_size = out.numel(),
         .first = first,
         .key = philox_key(key.seed, key.purpose),
         .sub = key.sub,
         .normal = distribution == Distribution::kNormal},
        out, {});
}

}  // namespace flux::kernels
