// From the autoencoder's posterior to the latents the transformer sees, and back.
#pragma once

#include <ATen/core/Tensor.h>

#include "flux/encoders/encoder.h"

namespace flux::encoders {

/// (z - shift) * scale. A shift of 0 is 0, not "unset".
struct LatentScaling {
    double shift = 0.0;
    double scale = 1.0;
};

/// Latents x_0 of one draw z = mean + exp(logvar / 2) * noise, fp32, in the posterior's shape.
at::Tensor draw_latents(const Posterior& posterior, const at::Tensor& noise,
                        const LatentScaling& scaling);

/// The autoencoder's z of latents x_0.
at::Tensor unscale_latents(const at::Tensor& latents, const LatentScaling& scaling);

}  // namespace flux::encoders
