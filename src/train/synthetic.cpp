#include "flux/train/synthetic.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include "flux/kernels/keyed_draw.h"

namespace flux::train {

encoders::MicroBatch synthetic_batch(const ResolvedJob& job) {
    const int64_t batch = job.config.training.batch_size;
    const int64_t side = job.config.training.img_size / 8;  // of the latents
    const at::Tensor index = at::arange(batch, at::TensorOptions(job.device).dtype(at::kLong));
    const auto normal = [&](uint32_t tensor, at::IntArrayRef shape) {
        return kernels::keyed_normal({job.seed, Purpose::kNoise, tensor}, index, shape);
    };
    const std::array latents{job.model.in_channels / 4, side, side};
    const std::array tokens{job.config.encoder.max_t5_encoding_len, job.model.context_in_dim};
    return {.latents = normal(0, latents),
            .noise = normal(1, latents),
            .timesteps = at::full({batch}, 0.5, index.options().dtype(at::kFloat)),
            .text = {.tokens = normal(2, tokens), .pooled = normal(3, {job.model.vec_in_dim})},
            .guidance = job.config.training.guidance};
}

}  // namespace flux::train
