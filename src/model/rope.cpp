#include "flux/model/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>

#include "flux/base/shape.h"

namespace flux::model {

RotaryTable rotary_table(const at::Tensor& ids, const FluxConfig& config) {
    check_shape(ids, {-1, -1, static_cast<int64_t>(config.axes_dim.size())}, "ids");
    const auto options = ids.options().dtype(at::kDouble);
    const at::Tensor positions = ids.to(at::kDouble);
    std::vector<at::Tensor> angles;
    for (size_t axis = 0; axis < config.axes_dim.size(); ++axis) {
        const int64_t width = config.axes_dim[axis];
        const at::Tensor exponents = at::arange(0, width, 2, options) / static_cast<double>(width);
        const at::Tensor frequencies =
            at::pow(static_cast<double>(config.theta), -exponents);  // [d/2]
        angles.push_back(positions.select(-1, static_cast<int64_t>(axis)).unsqueeze(-1) *
                         frequencies);
    }
    const at::Tensor all = at::cat(angles, -1).unsqueeze(1);  // [B, 1, T, D/2]
    const at::Tensor cos = all.cos().to(at::kFloat), sin = all.sin().to(at::kFloat);
    return {at::stack({cos, cos}, -1).flatten(-2), at::stack({-sin, sin}, -1).flatten(-2)};
}

}  // namespace flux::model
