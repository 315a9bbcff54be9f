// Built-in autoencoder "dct": the 8 x 8 block cosine transform of a picture, as JPEG takes it,
// without quantisation.
//
// Colours go to Y, Cb, Cr (ITU-R BT.601); of each block's 64 coefficients the lowest are kept, 8 of
// Y, 4 of Cb and 4 of Cr, and standardised per channel. encode(decode(z)) == z; what lies outside
// the kept coefficients is lost.
#pragma once

#include "flux/encoders/encoder.h"

namespace flux::encoders {

class DctAutoencoder final : public Autoencoder {
public:
    explicit DctAutoencoder(at::Device device);

    /// The coefficients as mean, with a log variance of -30: the posterior draw adds nothing that
    /// fp32 would show.
    Posterior encode(const at::Tensor& pictures) const override;
    at::Tensor decode(const at::Tensor& latents) const override;

private:
    at::Tensor analysis_;   // [16, 3, 8, 8]: pictures to raw coefficients
    at::Tensor synthesis_;  // [16, 3, 8, 8]: raw coefficients to pictures
    at::Tensor mean_;       // [1, 16, 1, 1]
    at::Tensor std_;        // [1, 16, 1, 1]
};

}  // namespace flux::encoders
