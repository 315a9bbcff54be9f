// Results that a unit's second run need not make: only operations read them whose own results come
// from the memo, and backward makes them again.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "flux/kernels/memo.h"

namespace flux::kernels {

/// Whether readers of a result take theirs from `memo`. Backward must be able to make it.
inline bool is_recalled(const Memo* memo) {
    return memo != nullptr && memo->is_again() && at::GradMode::is_enabled();
}
/// Whether attention's does, for heads like these.
bool attention_takes_memo(c10::DeviceType device, at::ScalarType dtype, int64_t head_size);

/// Stands for a result that nobody reads: one NaN, seen as the whole.
inline at::Tensor left_out(at::IntArrayRef shape, const at::TensorOptions& options) {
    const at::Tensor nan = at::full({1}, std::numeric_limits<double>::quiet_NaN(), options);
    const std::vector<int64_t> strides(shape.size(), 0);
    return at::empty({0}, options).set_(nan.storage(), 0, shape, strides);  // not a view
}

/// To be called by those who read what may have been left out.
inline void check_made(at::TensorList read) {
    for (const at::Tensor& x : read) {
        const at::IntArrayRef strides = x.strides();
        TORCH_CHECK(x.numel() <= 1 || std::any_of(strides.begin(), strides.end(),
                                                  [](int64_t stride) { return stride != 0; }),
                    "a result ", x.sizes(), " that a second run left out is read");
    }
}

}  // namespace flux::kernels
