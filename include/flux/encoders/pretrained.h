// Opens the encoders that [encoder] names: the built-in ones, or pretrained ones from files,
// checked against the widths that the transformer expects.
#pragma once

#include <memory>

#include "flux/config/job_config.h"
#include "flux/encoders/encoder.h"
#include "flux/encoders/frozen.h"
#include "flux/encoders/latent_scaling.h"

namespace flux::encoders {

/// encoder.t5_encoder: tokens [B, L, width] with L = encoder.max_t5_encoding_len. `width`: the
/// model's context_in_dim. Throws Error naming option and file.
std::unique_ptr<TextEncoder> open_token_encoder(const config::Encoder& settings, int64_t width,
                                                const Placement& placement);

/// encoder.clip_encoder: pooled [B, width]. `width`: the model's vec_in_dim.
std::unique_ptr<TextEncoder> open_pooled_encoder(const config::Encoder& settings, int64_t width,
                                                 const Placement& placement);

struct OpenedAutoencoder {
    std::unique_ptr<Autoencoder> autoencoder;
    LatentScaling scaling;  // its own; options may replace it
};

/// encoder.autoencoder_path.
OpenedAutoencoder open_autoencoder(const config::Encoder& settings, const Placement& placement);

/// What tells one encoder from another, for work that must not mix them: for each of the three
/// options of [encoder] the name of a built-in, or a checksum over the weights' names, shapes,
/// types and first values.
std::string encoders_identity(const config::Encoder& settings);

}  // namespace flux::encoders
