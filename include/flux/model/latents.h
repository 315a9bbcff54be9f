// Latent pictures as token sequences: 2x2 patches.
//
// Legend: B batch, C latent channels (16), H W latent height and width (picture / 8), T = H/2 * W/2
// tokens.
#pragma once

#include <ATen/core/Tensor.h>

namespace flux::model {

/// [B, C, H, W] -> [B, T, 4 C]; tokens row by row, channels in the order (c, row in patch, column
/// in patch).
at::Tensor pack_latents(const at::Tensor& latents);

/// The inverse, for latents of height H and width W.
at::Tensor unpack_latents(const at::Tensor& packed, int64_t height, int64_t width);

/// Positions (0, row, column) of each patch: fp32 [1, T, 3], the same for every sample.
at::Tensor image_ids(int64_t height, int64_t width, at::Device device);

/// All-zero positions of text tokens: fp32 [1, tokens, 3].
at::Tensor text_ids(int64_t tokens, at::Device device);

}  // namespace flux::model
