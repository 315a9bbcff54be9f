#include "flux/encoders/micro_batch.h"

#include <ATen/ops/full_like.h>

#include "flux/flow/flow_matching.h"
#include "flux/kernels/keyed_draw.h"
#include "flux/model/latents.h"

namespace flux::encoders {

MicroBatch encode_batch(const Conditioning& conditioning, const data::Batch& batch,
                        const BatchKeys& keys) {
    const kernels::DrawKey vae_noise{keys.seed, keys.vae_noise, keys.sub};
    MicroBatch micro;
    if (batch.payload.is_encoded()) {
        const data::EncodingBatch& stored = batch.payload.encodings;
        const auto move = [&](const at::Tensor& rows) { return conditioning.to_device(rows); };
        micro.latents = conditioning.draw_latents({move(stored.mean), move(stored.logvar)},
                                                  vae_noise, keys.index);
        micro.text = {move(stored.t5), move(stored.clip)};
    } else {
        const data::PictureBatch& pictures = batch.payload.pictures;
        micro.latents = conditioning.encode_pictures(pictures.images, vae_noise, keys.index);
        micro.text = conditioning.encode_text(pictures.captions);
    }
    micro.noise = kernels::keyed_normal({keys.seed, keys.noise, keys.sub}, keys.index,
                                        micro.latents.sizes().slice(1));
    return micro;
}

FlowProblem pose(kernels::Path path, const MicroBatch& batch) {
    const flow::FlowMatch match =
        flow::flow_match(path, batch.latents, batch.noise, batch.timesteps);
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
