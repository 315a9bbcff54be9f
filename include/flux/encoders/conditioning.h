// The one way from a batch of captioned pictures to what the transformer trains on: latents, text
// tokens, pooled text. Training, validation and sampling all come through here.
//
// Legend: B batch, L text tokens, C width of a text token, V width of the pooled text, h w latent
// height and width.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>

#include "flux/config/job_config.h"
#include "flux/encoders/encoder.h"
#include "flux/encoders/latent_scaling.h"
#include "flux/kernels/device_copy.h"
#include "flux/kernels/keyed_draw.h"

namespace flux::encoders {

struct TextConditioning {
    at::Tensor tokens;  // [B, L, C]
    at::Tensor pooled;  // [B, V]
};

/// Caption drop-out, which is what guidance at sampling time needs.
struct CaptionDropout {
    double probability = 0.0;
    config::DropoutMode mode = config::DropoutMode::kJoint;
};

/// Widths the transformer expects of its text.
struct TextWidths {
    int64_t tokens;  // model's context_in_dim
    int64_t pooled;  // model's vec_in_dim
};

class Conditioning {
public:
    /// Opens the encoders that `settings` names; where a name is empty there is none, for samples
    /// that come encoded. Throws ConfigError naming the option when one cannot be opened.
    /// `test_mode` takes the built-in ones whatever the settings say.
    Conditioning(const config::Encoder& settings, bool test_mode, TextWidths widths,
                 at::Device device);

    /// Latents x_0, fp32 [B, 16, h, w]. `pictures`: uint8 [B, 3, H, W]. Row i draws its posterior
    /// noise as (key, index[i]); `index`: int64 [B] on the device.
    at::Tensor encode_pictures(const at::Tensor& pictures, const kernels::DrawKey& key,
                               const at::Tensor& index) const;

    /// What encode_pictures() draws from, on the device.
    Posterior encode_posterior(const at::Tensor& pictures) const;

    /// Latents x_0 of an encoded picture, drawn as encode_pictures() does.
    at::Tensor draw_latents(const Posterior& posterior, const kernels::DrawKey& key,
                            const at::Tensor& index) const;

    /// Throws Error naming the option if there is no text encoder; likewise decode_pictures().
    TextConditioning encode_text(std::span<const std::string> captions) const;

    /// Replaces the captions of the drawn rows by the empty caption: the draw of (seed,
    /// samples[i]).
    TextConditioning drop_captions(const TextConditioning& text, const CaptionDropout& dropout,
                                   uint64_t seed, const at::Tensor& samples) const;

    /// What the empty caption encodes to, for `batch` rows. Throws Error naming the option if it is
    /// not known.
    TextConditioning empty_text(int64_t batch) const;

    /// Pictures uint8 [B, 3, H, W] of latents; like the reference, values are cut off and not
    /// rounded.
    at::Tensor decode_pictures(const at::Tensor& latents) const;

    at::Device device() const { return device_; }
    /// What a batch holds, on the device, copied beside its computation.
    at::Tensor to_device(const at::Tensor& host) const { return copies_(host); }
    bool encodes_text() const { return tokens_ && pooled_; }
    bool encodes_pictures() const { return autoencoder_ != nullptr; }
    bool has_empty_text() const { return empty_.tokens.defined(); }

private:
    at::Device device_;
    kernels::DeviceCopies copies_;
    LatentScaling scaling_;
    std::unique_ptr<TextEncoder> tokens_;
    std::unique_ptr<TextEncoder> pooled_;
    std::unique_ptr<Autoencoder> autoencoder_;
    TextConditioning empty_;
};

/// Rows where `drop` (bool [B]) is set take `empty` (batch of one), the others stay; in the dtype
/// of `encoding`.
at::Tensor replace_rows(const at::Tensor& encoding, const at::Tensor& drop,
                        const at::Tensor& empty);

}  // namespace flux::encoders
