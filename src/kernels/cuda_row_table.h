// All CUDA bodies of row_kernels.h by dtype, for who defines launch(), see cuda_rows.h.
#pragma once

#include "kernels/cuda_columns.h"
#include "kernels/cuda_heads.h"
#include "kernels/cuda_norm.h"
#include "kernels/cuda_step.h"

namespace flux::kernels {
namespace {

template <class T>
constexpr RowKernels<CudaRowKernel> cuda_row_table() {
    RowKernels<CudaRowKernel> table{};
    table.norm_modulate = norm_modulate<T>;
    table.norm_modulate_backward = norm_modulate_backward<T>;
    table.gated_residual = gated_residual<T>;
    table.gated_residual_backward = gated_residual_backward<T>;
    table.gelu = gelu<T>;
    table.gelu_backward = gelu_backward<T>;
    table.heads = heads<T>;
    table.heads_backward = heads_backward<T>;
    table.adam = adam<T>;
    table.mix_and_pack = mix_and_pack;
    table.squared_error = squared_error<T>;
    return table;
}

}  // namespace
}  // namespace flux::kernels
