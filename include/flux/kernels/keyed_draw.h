// Tensors of keyed random numbers (base/philox.h), one launch a tensor, the same integers on CPU
// and CUDA. Normal numbers of the two devices differ by the rounding of log, sin and cos.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include "flux/base/philox.h"

namespace flux::kernels {

/// Which stream of draws: see the table of Purpose.
struct DrawKey {
    uint64_t seed;
    Purpose purpose;
    uint32_t sub = 0;
};

/// Standard normal numbers, fp32 [N, row_shape...] on the device of `index`. Row i is the draw with
/// index[i]. `index`: int64 [N].
at::Tensor keyed_normal(const DrawKey& key, const at::Tensor& index, at::IntArrayRef row_shape);

/// Uniform numbers in [0, 1), fp32 [N, row_shape...]. `index`: int64 [N].
at::Tensor keyed_uniform(const DrawKey& key, const at::Tensor& index, at::IntArrayRef row_shape);

enum class Distribution { kUniform, kNormal };

/// Fills `out` (fp32, contiguous) with elements first, first + 1, ... of the draw `index`: uniform
/// in [0, 1) or standard normal. A tensor filled in pieces equals the tensor filled at once.
void keyed_fill_(at::Tensor& out, Distribution distribution, const DrawKey& key, uint64_t index,
                 int64_t first);

}  // namespace flux::kernels
