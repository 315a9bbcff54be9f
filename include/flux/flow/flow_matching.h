// Rectified flow (flow matching on straight lines): x_t = (1 - t) x_0 + t noise, target velocity
// noise - x_0, mean squared error in fp32. Training and validation use the same functions.
//
// Legend: B batch, C latent channels, H W latent height and width, T = H/2 * W/2 tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include "flux/kernels/fused_step.h"

namespace flux::flow {

struct FlowMatch {
    at::Tensor noisy;   // x_t, packed [B, T, 4 C]: what the model receives
    at::Tensor target;  // packed [B, T, 4 C]: what it should predict
};

/// `latents`, `noise`: fp32 [B, C, H, W]; `timesteps`: fp32 [B].
FlowMatch flow_match(kernels::Path path, const at::Tensor& latents, const at::Tensor& noise,
                     const at::Tensor& timesteps);

/// Mean squared error of each sample, fp32 [B].
at::Tensor per_sample_loss(kernels::Path path, const at::Tensor& prediction,
                           const at::Tensor& target);

struct Loss {
    at::Tensor per_sample;  // as above
    at::Tensor gradient;    // with respect to the prediction, in its dtype
};

/// The gradient is that of: sum over this batch of per_sample_loss() / `samples`, where `samples`
/// is the size of the global batch.
Loss loss_with_gradient(kernels::Path path, const at::Tensor& prediction, const at::Tensor& target,
                        int64_t samples);

}  // namespace flux::flow
