// What linear layers share: checks of their inputs, these as matrices, shapes of another width.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "flux/kernels/fused.h"
#include "kernels/check_beside.h"

namespace flux::kernels {

inline void check_linear(std::span<const LinearInput> parts, const at::Tensor& weight) {
    TORCH_CHECK(!parts.empty(), "a product of no part");
    const at::Tensor& first = parts.front().x;
    check_shape(first, {-1, -1, -1}, "x");
    int64_t width = 0;
    for (const LinearInput& part : parts) {
        check_beside(first, part.x, {first.size(0), first.size(1), -1}, "x");
        width += part.x.size(2);
    }
    check_beside(first, weight, {-1, width}, "weight");
}

inline std::vector<at::Tensor> tensors_of(std::span<const LinearInput> parts) {
    std::vector<at::Tensor> all;
    for (const LinearInput& part : parts) {
        all.push_back(part.x);
    }
    return all;
}

/// [..., C] -> [rows, C].
inline at::Tensor matrix_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

inline std::vector<int64_t> with_width(at::IntArrayRef shape, int64_t width) {
    std::vector<int64_t> result = shape.vec();
    result.back() = width;
    return result;
}

}  // namespace flux::kernels
