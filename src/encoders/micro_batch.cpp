#include "flux/encoders/micro_batch.h"

#include <ATen/ops/full_like.h>

#include "flux/flow/flow_matching.h"
#include "flux/model/latents.h"

namespace flux::encoders {

FlowProblem pose(const MicroBatch& batch) {
    const flow::FlowMatch match = flow::flow_match(batch.latents, batch.noise, batch.timesteps);
    return {model_input(match.noisy, batch.latents.size(2), batch.latents.size(3), batch.text,
                        batch.timesteps, batch.guidance),
            match.target};
}

model::MmditInput model_input(const at::Tensor& packed, int64_t height, int64_t width,
                              const TextConditioning& text, const at::Tensor& timesteps,
                              double guidance) {
    return {.img = packed,
            .img_ids = model::image_ids(height, width, packed.device()),
            .txt = text.tokens,
            .txt_ids = model::text_ids(text.tokens.size(1), packed.device()),
            .pooled = text.pooled,
            .timesteps = timesteps,
            .guidance = at::full_like(timesteps, guidance)};
}

}  // namespace flux::encoders
