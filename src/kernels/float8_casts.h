// Casts to FP8: what the products of float8_linear.cpp multiply. Each product is one of two
// matrices whose rows are multiplied, [R, K] and [R', K], which is what at::_scaled_mm() wants
// (row-major times column-major). A matrix that is multiplied along its columns is transposed while
// it is cast.
//
// Each cast has two forms that mean the same, bit by bit: the twin in plain tensor operations, and
// kernels for GPUs. CPUs take the twin: what they compute in FP8 is emulated, in tests.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "flux/kernels/float8.h"
#include "kernels/float8_job.h"

namespace flux::kernels {

/// A matrix in FP8, and what its numbers are multiplied by afterwards.
struct Float8Matrix {
    at::Tensor data;     // e4m3 or e5m2 [R, K]
    at::Tensor inverse;  // fp32, a number or [R, 1]
};

struct Float8Cast {
    at::ScalarType to;
    Products::Kind kind;
};

/// Matrices side by side, ready for a product along their rows. parts: one or two, [R, K], [R, K'].
Float8Matrix float8_rows(Path path, const std::vector<at::Tensor>& parts, const Float8Cast& cast);
/// Ready for a product along their columns: [K + K', R filled up with zeros, which add nothing to
/// products]. With one scale a tensor there is one part.
Float8Matrix float8_columns(Path path, const std::vector<at::Tensor>& parts,
                            const Float8Cast& cast);
/// The same numbers, ready for a product along their columns: [K, R filled up].
at::Tensor float8_transposed(Path path, const at::Tensor& data);

/// Columns of all parts.
int64_t width_of(const std::vector<at::Tensor>& parts);
/// [K, R filled up], not yet written.
at::Tensor transposed_room(int64_t rows, int64_t columns, const at::TensorOptions& options);

namespace twin {
Float8Matrix float8_rows(const std::vector<at::Tensor>& parts, const Float8Cast& cast);
Float8Matrix float8_columns(const std::vector<at::Tensor>& parts, const Float8Cast& cast);
at::Tensor float8_transposed(const at::Tensor& data);
}  // namespace twin

/// Runs the kernel for tensors like `x`: on the GPU where it lives, or in a test on the host.
using RunFloat8 = void (*)(const at::Tensor& x, const Float8Job& job,
                           CudaRowKernel<Float8Job> Float8Kernels::*kernel);

namespace fused {
Float8Matrix float8_rows(RunFloat8 run, const std::vector<at::Tensor>& parts,
                         const Float8Cast& cast);
Float8Matrix float8_columns(RunFloat8 run, const std::vector<at::Tensor>& parts,
                            const Float8Cast& cast);
at::Tensor float8_transposed(RunFloat8 run, const at::Tensor& data);
}  // namespace fused

}  // namespace flux::kernels
