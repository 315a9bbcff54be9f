// The layers and units of the Flux autoencoder.
//
// Legend: B batch, C channels, H W height and width at the layer's scale.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "flux/encoders/flux_autoencoder.h"
#include "flux/units/unit.h"

namespace flux::encoders {

using AutoencoderUnit = units::Unit<AutoencoderState>;
using AutoencoderUnits = std::vector<std::unique_ptr<AutoencoderUnit>>;

/// conv_in, four scales with downsampling between them, middle, conv_out: pictures [B, 3, H, W] to
/// mean and log variance [B, 2 z, H/8, W/8].
AutoencoderUnits make_encoder_units(const AutoencoderConfig& config);

/// The way back: latents [B, z, h, w] to pictures [B, 3, 8 h, 8 w].
AutoencoderUnits make_decoder_units(const AutoencoderConfig& config);

}  // namespace flux::encoders
