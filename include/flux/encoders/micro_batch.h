// One batch, encoded: what training and validation hand to the transformer. Both take the same way
// from here.
#pragma once

#include <ATen/core/Tensor.h>

#include "flux/data/loader.h"
#include "flux/encoders/conditioning.h"
#include "flux/model/mmdit.h"

namespace flux::encoders {

struct MicroBatch {
    at::Tensor latents;    // x_0, fp32 [B, 16, h, w]
    at::Tensor noise;      // fp32, the same shape
    at::Tensor timesteps;  // fp32 [B]
    TextConditioning text;
    double guidance = 1.0;  // what a guidance-distilled model is told; others ignore it
};

/// What keys the random draws of a batch: training by global sample number, validation by row.
struct BatchKeys {
    uint64_t seed;
    Purpose vae_noise;
    Purpose noise;
    at::Tensor index;  // int64 [B], on the device
    uint32_t sub = 0;  // of both draws, see Purpose
};

/// Encodes a batch of the loader, or takes what is stored: latents, noise and text. The caller sets
/// the timesteps.
MicroBatch encode_batch(const Conditioning& conditioning, const data::Batch& batch,
                        const BatchKeys& keys);

/// The model's input at x_t and the velocity it should answer.
struct FlowProblem {
    model::MmditInput input;
    at::Tensor target;  // packed, fp32 [B, T, 64]
};

FlowProblem pose(kernels::Path path, const MicroBatch& batch);

/// Input for packed latents of a picture of latent size `height` x `width`. `timesteps`: fp32 [B or
/// 1].
model::MmditInput model_input(const at::Tensor& packed, int64_t height, int64_t width,
                              const TextConditioning& text, const at::Tensor& timesteps,
                              double guidance);

}  // namespace flux::encoders
