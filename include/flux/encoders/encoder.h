// The frozen networks around the transformer, as training and sampling see them. Each has a
// built-in body that needs no download (words.h, dct.h).
//
// Legend: B batch, L text tokens, C width of a text encoding, H W picture height and width, h =
// H/8, w = W/8.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>

namespace flux::encoders {

/// Captions to encodings, on the encoder's device. The empty caption is what a dropped caption
/// turns into.
class TextEncoder {
public:
    virtual ~TextEncoder() = default;

    /// [B, L, C] for token encoders, [B, C] for pooled ones.
    virtual at::Tensor encode(std::span<const std::string> captions) const = 0;
};

/// Mean and log variance of the latents of a picture, fp32 [B, 16, h, w], before shift and scale.
struct Posterior {
    at::Tensor mean;
    at::Tensor logvar;
};

class Autoencoder {
public:
    virtual ~Autoencoder() = default;

    /// `pictures`: fp32 [B, 3, H, W] in [-1, 1], H and W multiples of 8.
    virtual Posterior encode(const at::Tensor& pictures) const = 0;

    /// Pictures in [-1, 1] (not clamped) of unscaled latents [B, 16, h, w].
    virtual at::Tensor decode(const at::Tensor& latents) const = 0;
};

/// Pixels of latent height and width: one latent position covers 8 x 8.
inline constexpr int64_t kLatentFactor = 8;
inline constexpr int64_t kLatentChannels = 16;

}  // namespace flux::encoders
