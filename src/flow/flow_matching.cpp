#include "flux/flow/flow_matching.h"

#include <ATen/TensorOperators.h>

#include "flux/base/shape.h"
#include "flux/model/latents.h"

namespace flux::flow {

FlowMatch flow_match(const at::Tensor& latents, const at::Tensor& noise,
                     const at::Tensor& timesteps) {
    check_shape(noise, latents.sizes(), "noise");
    check_shape(timesteps, {latents.size(0)}, "timesteps");
    const at::Tensor t = timesteps.to(at::kFloat).view({-1, 1, 1, 1});
    const at::Tensor x0 = latents.to(at::kFloat);
    const at::Tensor x1 = noise.to(at::kFloat);
    return {model::pack_latents(x0 * (-t + 1) + x1 * t), model::pack_latents(x1 - x0)};
}

at::Tensor per_sample_loss(const at::Tensor& prediction, const at::Tensor& target) {
    const at::Tensor difference = prediction.to(at::kFloat) - target.to(at::kFloat);
    return difference.square().flatten(1).mean(1);
}

at::Tensor loss_gradient(const at::Tensor& prediction, const at::Tensor& target, int64_t samples) {
    const auto elements = static_cast<double>(prediction.numel() / prediction.size(0));
    return (prediction.to(at::kFloat) - target.to(at::kFloat)) *
           (2.0 / (elements * static_cast<double>(samples)));
}

}  // namespace flux::flow
