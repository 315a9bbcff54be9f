#include "flux/flow/flow_matching.h"

#include "flux/base/shape.h"

namespace flux::flow {

FlowMatch flow_match(kernels::Path path, const at::Tensor& latents, const at::Tensor& noise,
                     const at::Tensor& timesteps) {
    check_shape(noise, latents.sizes(), "noise");
    check_shape(timesteps, {latents.size(0)}, "timesteps");
    const kernels::PackedMix packed = kernels::mix_and_pack(
        path, latents.to(at::kFloat), noise.to(at::kFloat), timesteps.to(at::kFloat));
    return {packed.mixed, packed.difference};
}

at::Tensor per_sample_loss(kernels::Path path, const at::Tensor& prediction,
                           const at::Tensor& target) {
    return kernels::mean_squared_error(path, prediction, target.to(at::kFloat));
}

Loss loss_with_gradient(kernels::Path path, const at::Tensor& prediction, const at::Tensor& target,
                        int64_t samples) {
    const kernels::SquaredError error = kernels::squared_error_with_gradient(
        path, prediction, target.to(at::kFloat), 1.0 / static_cast<double>(samples));
    return {error.means, error.gradient};
}

}  // namespace flux::flow
