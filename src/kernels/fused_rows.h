// What the autograd functions of row kernels share.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <utility>

#include "flux/kernels/fused.h"
#include "kernels/check_beside.h"
#include "kernels/left_out.h"
#include "kernels/row_kernels.h"
#include "kernels/run_rows.h"

namespace flux::kernels {

inline bool is_fused(Path path, const at::Tensor& x) {
    return path == Path::kFused && has_row_kernels(x);
}

/// fp32 sums of each chunk.
inline at::Tensor sums_for(const Rows& rows, int64_t width, const at::Tensor& like) {
    return at::empty({rows.batch, rows.chunks_of_one(), width}, like.options().dtype(at::kFloat));
}

/// Of a bias; without elements it stands for none, as autograd takes no undefined tensors.
inline const void* data_or_null(const at::Tensor& x) {
    return x.numel() > 0 ? x.const_data_ptr() : nullptr;
}

/// GELU of the last columns of u: [B, T, any] from `first` on. bias: of u's width, dense, or
/// without elements.
inline GeluJob gelu_job(const at::Tensor& u, const at::Tensor& bias, int64_t first) {
    const auto from = [&](const at::Tensor& x) -> const void* {
        return x.numel() == 0
                   ? nullptr
                   : static_cast<const char*>(x.const_data_ptr()) + first * x.element_size();
    };
    return {.rows = rows_of(u),
            .channels = u.size(2) - first,
            .u = from(u),
            .stride = u.size(2),
            .bias = from(bias),
            .y = nullptr,
            .dy = nullptr,
            .du = nullptr,
            .sums = nullptr};
}

/// [B, T, columns].
inline at::Tensor gelu(const at::Tensor& u, const at::Tensor& bias, int64_t first) {
    GeluJob job = gelu_job(u, bias, first);
    at::Tensor y = at::empty({u.size(0), u.size(1), job.channels}, u.options());
    job.y = y.data_ptr();
    run_rows(u, job, [](const auto& of) { return of.gelu; });
    return y;
}

/// Nothing where no graph is recorded: `from` would only live longer.
inline Remake recorded(Remake::Tensors from, decltype(Remake::make) make) {
    return at::GradMode::is_enabled() ? Remake{std::move(from), std::move(make)} : Remake{};
}

inline Remake gelu_remake(const at::Tensor& u, const at::Tensor& bias, int64_t first) {
    return recorded({u, bias}, [first](const Remake::Tensors& from) {
        return Remake::Tensors{gelu(from[0], from[1], first)};
    });
}

/// Fills the same columns of `du`, a tensor like u; the gradient of their bias, fp32.
inline at::Tensor gelu_backward(GeluJob job, const at::Tensor& dy, at::Tensor du, int64_t first) {
    const at::Tensor sums = sums_for(job.rows, job.channels, du);
    job.dy = dy.const_data_ptr();
    job.du = static_cast<char*>(du.data_ptr()) + first * du.element_size();
    job.sums = sums.data_ptr<float>();
    run_rows(du, job, [](const auto& of) { return of.gelu_backward; });
    return sums.sum(at::IntArrayRef{0, 1});
}

}  // namespace flux::kernels
