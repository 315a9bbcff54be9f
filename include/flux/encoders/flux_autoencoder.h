// The published Flux autoencoder: residual convolution blocks at four scales with one attention in
// the middle, encoder and decoder. Numerics and parameter names follow the published
// ae.safetensors; files in the layout of the diffusers library are read too.
//
// Legend: B batch, C channels, H W picture height and width, h = H/8, w = W/8.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "flux/encoders/encoder.h"
#include "flux/encoders/frozen.h"
#include "flux/encoders/latent_scaling.h"
#include "flux/units/unit_runner.h"

namespace flux::encoders {

struct AutoencoderConfig {
    /// Channels at each scale, from the full picture down; a latent position covers 8 x 8 pixels.
    std::array<int64_t, 4> channels;
    int64_t num_res_blocks;
    int64_t z_channels = kLatentChannels;
};

/// The shift and scale with which the published Flux models were trained.
inline constexpr LatentScaling kFluxScaling{.shift = 0.1159, .scale = 0.3611};

/// From the tensors' shapes, in either layout. Throws Error naming the tensor that does not fit.
AutoencoderConfig autoencoder_config_of(const SafetensorsSet& weights);

/// Shift and scale of a config.json in the diffusers layout. Throws Error naming file, key and
/// value where the file describes another autoencoder than `config`.
LatentScaling read_autoencoder_config(const std::filesystem::path& config_json,
                                      const AutoencoderConfig& config);

struct AutoencoderState {
    at::Tensor x;  // [B, C, height, width]

    static constexpr std::array kFlow{&AutoencoderState::x};
};

class FluxAutoencoder final : public Autoencoder {
public:
    /// Binds and loads the weights. Throws Error naming the tensor that does not fit.
    FluxAutoencoder(const AutoencoderConfig& config, const SafetensorsSet& weights,
                    const Placement& placement);

    Posterior encode(const at::Tensor& pictures) const override;
    at::Tensor decode(const at::Tensor& latents) const override;

private:
    using Runner = units::UnitRunner<AutoencoderState>;

    AutoencoderConfig config_;
    Placement placement_;
    std::unique_ptr<Runner> encoder_;
    std::unique_ptr<Runner> decoder_;
};

/// Every tensor of both halves found in `weights`, by name and shape; reads no data.
std::vector<Binding> bind_autoencoder(const AutoencoderConfig& config,
                                      const SafetensorsSet& weights);

/// What the weights of both halves take, without reading any.
WeightBytes weight_bytes(const AutoencoderConfig& config, const Placement& placement);

/// Floating point operations of encoding one square picture.
double encode_flops(const AutoencoderConfig& config, int64_t side);

}  // namespace flux::encoders
