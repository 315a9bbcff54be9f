#include "flux/encoders/flux_autoencoder.h"

#include <c10/util/Exception.h>

#include <algorithm>

#include "encoders/autoencoder_layers.h"
#include "encoders/autoencoder_names.h"
#include "encoders/config_file.h"
#include "flux/base/error.h"
#include "flux/base/shape.h"

namespace flux::encoders {
namespace {

constexpr int64_t kNormGroups = 32;

/// Size `dimension` of a tensor that the original layout names `name`.
int64_t size_of(const SafetensorsSet& weights, const std::string& name, size_t dimension) {
    const FileTensor tensor =
        file_tensor({.name = name, .shape = {}, .init = units::Init::constant(0), .slot = nullptr},
                    layout_of(weights));
    const TensorInfo& info = weights.info(tensor.name);
    if (info.shape.size() != 4 || info.shape[dimension] < 1) {
        fail("{}: tensor {}: shape = {}: must be a convolution's", weights.path().string(),
             info.name, shape_text(info.shape));
    }
    return info.shape[dimension];
}

bool has(const SafetensorsSet& weights, const std::string& name) {
    return weights.has(
        file_tensor({.name = name, .shape = {}, .init = units::Init::constant(0), .slot = nullptr},
                    layout_of(weights))
            .name);
}

}  // namespace

AutoencoderConfig autoencoder_config_of(const SafetensorsSet& weights) {
    AutoencoderConfig config{.channels = {},
                             .num_res_blocks = 1,
                             .z_channels = size_of(weights, "decoder.conv_in.weight", 1)};
    for (size_t i = 0; i < config.channels.size(); ++i) {
        const std::string name = fmt::format("encoder.down.{}.block.0.conv1.weight", i);
        config.channels[i] = size_of(weights, name, 0);
        if (config.channels[i] % kNormGroups != 0) {
            fail("{}: {} channels at scale {}: must be a multiple of {}", weights.path().string(),
                 config.channels[i], i, kNormGroups);
        }
    }
    while (
        config.num_res_blocks < kMaxLayers &&
        has(weights, fmt::format("encoder.down.0.block.{}.conv1.weight", config.num_res_blocks))) {
        ++config.num_res_blocks;
    }
    if (config.z_channels != kLatentChannels) {
        fail("{}: latents have {} channels: must be {}, as in Flux's autoencoder",
             weights.path().string(), config.z_channels, kLatentChannels);
    }
    return config;
}

LatentScaling read_autoencoder_config(const std::filesystem::path& config_json,
                                      const AutoencoderConfig& config) {
    const ConfigFile file(config_json);
    if (file.size("latent_channels", kMaxWidth, config.z_channels) != config.z_channels) {
        file.refuse("latent_channels",
                    fmt::format("the tensors beside it have {}", config.z_channels));
    }
    if (file.size("layers_per_block", kMaxLayers, config.num_res_blocks) != config.num_res_blocks) {
        file.refuse("layers_per_block",
                    fmt::format("the tensors beside it have {}", config.num_res_blocks));
    }
    return {.shift = file.number("shift_factor", kFluxScaling.shift),
            .scale = file.positive("scaling_factor", kFluxScaling.scale)};
}

std::vector<Binding> bind_autoencoder(const AutoencoderConfig& config,
                                      const SafetensorsSet& weights) {
    const AutoencoderLayout layout = layout_of(weights);
    AutoencoderUnits units = make_encoder_units(config);
    for (auto& unit : make_decoder_units(config)) {
        units.push_back(std::move(unit));
    }
    return bind_weights(
        weights, ModelKind::kAutoencoder, all_parameters(units),
        [layout](const units::Parameter& parameter) { return file_tensor(parameter, layout); });
}

WeightBytes weight_bytes(const AutoencoderConfig& config, const Placement& placement) {
    WeightBytes bytes = weight_bytes_of(make_encoder_units(config), placement);
    bytes += weight_bytes_of(make_decoder_units(config), placement);
    return bytes;
}

double encode_flops(const AutoencoderConfig& config, int64_t side) {
    double flops = 0;
    const AutoencoderUnits units = make_encoder_units(config);
    for (size_t i = 0; i < units.size(); ++i) {
        // conv_in and the first scale see the whole picture, every further scale half of each side.
        const size_t halvings = std::min(i == 0 ? 0 : i - 1, config.channels.size() - 1);
        const auto width = static_cast<double>(side >> halvings);
        for (const units::Parameter& parameter : units[i]->parameters()) {
            if (parameter.shape.size() == 4) {
                flops += 2.0 * static_cast<double>(parameter.numel()) * width * width;
            }
        }
    }
    return flops;
}

FluxAutoencoder::FluxAutoencoder(const AutoencoderConfig& config, const SafetensorsSet& weights,
                                 const Placement& placement)
    : config_(config), placement_(placement) {
    std::vector<Binding> bindings = bind_autoencoder(config, weights);
    const auto decoder = std::stable_partition(
        bindings.begin(), bindings.end(),
        [](const Binding& binding) { return binding.parameter.starts_with("encoder."); });
    encoder_ = std::make_unique<Runner>(make_encoder_units(config), placement.store(),
                                        units::RecomputePolicy::none());
    decoder_ = std::make_unique<Runner>(make_decoder_units(config), placement.store(),
                                        units::RecomputePolicy::none());
    load_weights(weights, {bindings.begin(), decoder}, encoder_->store());
    load_weights(weights, {decoder, bindings.end()}, decoder_->store());
}

Posterior FluxAutoencoder::encode(const at::Tensor& pictures) const {
    check_shape(pictures, {-1, 3, -1, -1}, "pictures");
    TORCH_CHECK(pictures.size(2) % kLatentFactor == 0 && pictures.size(3) % kLatentFactor == 0,
                "pictures: height and width must be multiples of ", kLatentFactor);
    const at::Tensor moments =
        encoder_->forward({pictures.to(placement_.device, placement_.dtype)}).x;
    const auto parts = moments.to(at::kFloat).chunk(2, 1);
    return {parts[0], parts[1]};
}

at::Tensor FluxAutoencoder::decode(const at::Tensor& latents) const {
    check_shape(latents, {-1, config_.z_channels, -1, -1}, "latents");
    return decoder_->forward({latents.to(placement_.device, placement_.dtype)}).x.to(at::kFloat);
}

}  // namespace flux::encoders
