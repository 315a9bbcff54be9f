// Shapes: the check at every public entry that takes tensors, and how a shape is written in
// messages.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>

namespace flux {

/// "[3, 24, 64]"; -1 is written as "*".
std::string shape_text(at::IntArrayRef shape);

/// The product of the sizes; nothing if a size is negative or the product, zeros left out, passes
/// 2^63 - 1.
std::optional<int64_t> checked_numel(at::IntArrayRef shape);

/// A bug check: throws c10::Error unless `tensor` has this shape; -1 stands for any size.
void check_shape(const at::Tensor& tensor, at::IntArrayRef expected, std::string_view name);

}  // namespace flux
