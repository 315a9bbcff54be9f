// What linear layers share: checks of their inputs, what is kept of these, and their shapes.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "flux/kernels/fused.h"
#include "kernels/check_beside.h"
#include "kernels/kept_tensors.h"

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

/// The weight, then each part as it lies: some tokens of more are not copied, but for products.
inline std::vector<Keep> kept_by_linear(at::TensorList inputs, std::span<const LinearInput> parts,
                                        const at::Tensor& weight) {
    std::vector<Keep> kept{{.tensors = {weight}}};
    for (size_t i = 0; i < parts.size(); ++i) {
        kept.push_back({.tensors = {inputs[i]}, .again = parts[i].again});
    }
    return kept;
}

/// [..., C] -> [rows, C].
inline at::Tensor matrix_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

inline std::vector<int64_t> with_width(at::IntArrayRef shape, int64_t width) {
    std::vector<int64_t> result = shape.vec();
    result.back() = width;
    return result;
}

}  // namespace flux::kernels
