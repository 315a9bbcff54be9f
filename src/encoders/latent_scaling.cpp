#include "flux/encoders/latent_scaling.h"

#include <ATen/TensorOperators.h>

#include "flux/base/shape.h"

namespace flux::encoders {

at::Tensor draw_latents(const Posterior& posterior, const at::Tensor& noise,
                        const LatentScaling& scaling) {
    check_shape(noise, posterior.mean.sizes(), "posterior noise");
    const at::Tensor z = posterior.mean.to(at::kFloat) +
                         (posterior.logvar.to(at::kFloat) * 0.5).exp() * noise.to(at::kFloat);
    return (z - scaling.shift) * scaling.scale;
}

at::Tensor unscale_latents(const at::Tensor& latents, const LatentScaling& scaling) {
    return latents / scaling.scale + scaling.shift;
}

}  // namespace flux::encoders
