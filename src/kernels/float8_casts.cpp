// Jobs of the casts' kernels.
#include "kernels/float8_casts.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "kernels/run_rows.h"

namespace flux::kernels {
namespace {

using Tensors = std::vector<at::Tensor>;
using Kind = Products::Kind;

Tensors dense(const Tensors& parts) {
    Tensors result;
    for (const at::Tensor& part : parts) {
        result.push_back(part.contiguous());
    }
    return result;
}

/// Of a dense matrix [R, K].
Float8Job job_of(const at::Tensor& x, const Float8Cast& cast) {
    constexpr int64_t kRows = 32;  // of which a thread finds the largest number in a column
    return {.rows = {.batch = 1, .tokens = x.size(0), .chunk = kRows},
            .channels = x.size(1),
            .x = x.const_data_ptr(),
            .other_channels = 0,
            .other = nullptr,
            .largest = nullptr,
            .of_columns = false,
            .out = nullptr,
            .stride = 0,
            .inverse = nullptr,
            .e5m2 = cast.to == at::kFloat8_e5m2,
            .powers = cast.kind == Kind::kRowwise};
}

uint8_t* bytes_of(const at::Tensor& data) { return static_cast<uint8_t*>(data.data_ptr()); }
/// Of fp32 numbers.
uint32_t* bits_of(const at::Tensor& x) { return static_cast<uint32_t*>(x.data_ptr()); }

at::Tensor floats(const at::Tensor& like, at::IntArrayRef shape) {
    return at::empty(shape, like.options().dtype(at::kFloat));
}
at::Tensor zero_floats(const at::Tensor& like, at::IntArrayRef shape) {
    return at::zeros(shape, like.options().dtype(at::kFloat));
}

/// Of all parts.
at::Tensor largest(RunFloat8 run, const Tensors& parts, const Float8Cast& cast) {
    at::Tensor found = zero_floats(parts[0], {});
    for (const at::Tensor& part : parts) {
        Float8Job job = job_of(part, cast);
        job.largest = bits_of(found);
        run(part, job, &Float8Kernels::largest);
    }
    return found;
}

#ifdef FLUX_WITH_CUDA
void run_on_gpu(const at::Tensor& x, const Float8Job& job,
                CudaRowKernel<Float8Job> Float8Kernels::*kernel) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Float8Kernels& kernels =
        x.scalar_type() == at::kFloat ? kFloat8KernelsCuda.fp32 : kFloat8KernelsCuda.bf16;
    const int code =
        (kernels.*kernel)(job, c10::cuda::getCurrentCUDAStream(x.device().index()).stream());
    TORCH_CHECK(code == 0, launch_problem(code, Float8Job::kName, x));
}
#endif

/// Null where the twin is to run.
RunFloat8 kernels_for(Path path, const at::Tensor& x) {
#ifdef FLUX_WITH_CUDA
    if (path == Path::kFused && x.is_cuda()) {
        return run_on_gpu;
    }
#else
    static_cast<void>(path);
    static_cast<void>(x);
#endif
    return nullptr;
}

}  // namespace

int64_t width_of(const Tensors& parts) {
    int64_t width = 0;
    for (const at::Tensor& part : parts) {
        width += part.size(1);
    }
    return width;
}

at::Tensor transposed_room(int64_t rows, int64_t columns, const at::TensorOptions& options) {
    const int64_t filled = (rows + kFloat8Alignment - 1) / kFloat8Alignment * kFloat8Alignment;
    return at::empty({columns, filled}, options);
}

namespace fused {

Float8Matrix float8_rows(RunFloat8 run, const Tensors& given, const Float8Cast& cast) {
    const Tensors parts = dense(given);
    const at::Tensor& first = parts[0];
    const int64_t count = first.size(0), width = width_of(parts);
    const bool whole = cast.kind == Kind::kTensorwise;
    const at::Tensor amax = whole ? largest(run, parts, cast) : at::Tensor();
    Float8Matrix result{at::empty({count, width}, first.options().dtype(cast.to)),
                        whole ? floats(first, {}) : floats(first, {count, 1})};
    Float8Job job = job_of(first, cast);
    if (parts.size() == 2) {
        job.other_channels = parts[1].size(1);
        job.other = parts[1].const_data_ptr();
    }
    job.largest = whole ? bits_of(amax) : nullptr;
    job.out = bytes_of(result.data);
    job.stride = width;
    job.inverse = result.inverse.data_ptr<float>();
    run(first, job, &Float8Kernels::rows);
    return result;
}

Float8Matrix float8_columns(RunFloat8 run, const Tensors& given, const Float8Cast& cast) {
    const Tensors parts = dense(given);
    const at::Tensor& first = parts[0];
    const int64_t width = width_of(parts);
    const bool whole = cast.kind == Kind::kTensorwise;
    const at::Tensor amax = whole ? largest(run, parts, cast) : zero_floats(first, {width});
    Float8Matrix result{transposed_room(first.size(0), width, first.options().dtype(cast.to)),
                        whole ? floats(first, {}) : floats(first, {width, 1})};
    int64_t begin = 0;
    for (const at::Tensor& part : parts) {
        Float8Job job = job_of(part, cast);
        job.largest = bits_of(amax) + begin;
        job.of_columns = !whole;
        job.stride = result.data.size(1);
        job.out = bytes_of(result.data) + begin * job.stride;
        job.inverse = result.inverse.data_ptr<float>() + begin;
        if (!whole) {
            run(part, job, &Float8Kernels::largest_of_columns);
        }
        run(part, job, &Float8Kernels::columns);
        begin += part.size(1);
    }
    return result;
}

at::Tensor float8_transposed(RunFloat8 run, const at::Tensor& data) {
    const at::Tensor x = data.contiguous();
    at::Tensor room = transposed_room(x.size(0), x.size(1), x.options());
    Float8Job job = job_of(x, {x.scalar_type(), Kind::kPlain});
    job.out = bytes_of(room);
    job.stride = room.size(1);
    run(x, job, &Float8Kernels::transpose);
    return room;
}

}  // namespace fused

Float8Matrix float8_rows(Path path, const Tensors& parts, const Float8Cast& cast) {
    const RunFloat8 run = kernels_for(path, parts[0]);
    return run != nullptr ? fused::float8_rows(run, parts, cast) : twin::float8_rows(parts, cast);
}

Float8Matrix float8_columns(Path path, const Tensors& parts, const Float8Cast& cast) {
    const RunFloat8 run = kernels_for(path, parts[0]);
    return run != nullptr ? fused::float8_columns(run, parts, cast)
                          : twin::float8_columns(parts, cast);
}

at::Tensor float8_transposed(Path path, const at::Tensor& data) {
    const RunFloat8 run = kernels_for(path, data);
    return run != nullptr ? fused::float8_transposed(run, data) : twin::float8_transposed(data);
}

}  // namespace flux::kernels
