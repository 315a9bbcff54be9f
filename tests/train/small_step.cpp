#include "train/small_step.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include "flux/kernels/keyed_draw.h"

namespace flux::train {

encoders::MicroBatch drawn_batch(const model::FluxConfig& config, int64_t first,
                                 const BatchShape& shape, c10::Device device) {
    const at::Tensor index = at::arange(first, first + shape.samples, at::kLong);
    const auto draw = [&](Purpose purpose, std::vector<int64_t> of_sample) {
        return kernels::keyed_normal({5, purpose}, index, of_sample).to(device);
    };
    return {.latents = draw(Purpose::kVaeNoise, {16, shape.height, shape.width}),
            .noise = draw(Purpose::kNoise, {16, shape.height, shape.width}),
            .timesteps = at::full({shape.samples}, 0.25, at::kFloat).to(device),
            .text = {.tokens = draw(Purpose::kVaeNoise, {shape.text_tokens, config.context_in_dim}),
                     .pooled = draw(Purpose::kVaeNoise, {config.vec_in_dim})}};
}

}  // namespace flux::train
