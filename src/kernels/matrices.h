// What linear layers share: their inputs as matrices, and shapes of another width.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace flux::kernels {

/// [..., C] -> [rows, C].
inline at::Tensor matrix_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

inline std::vector<int64_t> with_width(at::IntArrayRef shape, int64_t width) {
    std::vector<int64_t> result = shape.vec();
    result.back() = width;
    return result;
}

}  // namespace flux::kernels
