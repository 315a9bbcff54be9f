// The check of a fused operation's further inputs.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <string_view>

#include "flux/base/shape.h"

namespace flux::kernels {

/// Bodies take pointers: shape (-1: any), dtype and device must be right before.
inline void check_beside(const at::Tensor& x, const at::Tensor& tensor, at::IntArrayRef shape,
                         std::string_view name) {
    check_shape(tensor, shape, name);
    TORCH_CHECK(tensor.scalar_type() == x.scalar_type() && tensor.device() == x.device(), name,
                ": is ", tensor.scalar_type(), " on ", tensor.device(), " beside ", x.scalar_type(),
                " on ", x.device());
}

}  // namespace flux::kernels
