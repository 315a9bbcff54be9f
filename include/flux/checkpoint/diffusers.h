// The folder of a transformer as the diffusers library keeps it: what its files are called and what
// config.json says.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "flux/model/flux_config.h"

namespace flux::checkpoint {

/// File names without the numbers of shards.
inline constexpr const char* kDiffusersConfig = "config.json";
inline constexpr const char* kDiffusersStem = "diffusion_pytorch_model";
inline constexpr const char* kDiffusersSingle = "diffusion_pytorch_model.safetensors";
inline constexpr const char* kDiffusersIndex = "diffusion_pytorch_model.safetensors.index.json";

/// config.json of FluxTransformer2DModel. Throws Error naming the option that this class fixes at
/// another value. It also fixes the epsilon of query and key norms, at 1e-6 as the published
/// inference code does; at trained magnitudes that is below rounding in bfloat16.
std::string diffusers_config(const model::FluxConfig& model);

/// The weights in such a folder, or in transformer/ below it: a safetensors file or an index.
std::optional<std::filesystem::path> find_diffusers_weights(const std::filesystem::path& folder);

/// Compares what config.json in `folder` says with `model`, where it says something: dimensions
/// that no tensor's shape shows. Throws Error naming file, key and option.
void check_diffusers_config(const std::filesystem::path& folder, const model::FluxConfig& model);

}  // namespace flux::checkpoint
