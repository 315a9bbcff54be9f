// Dimensions of the MMDiT and its published sizes ("flavors").
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flux::model {

struct FluxConfig {
    int64_t in_channels = 64;  // 2x2 patches of 16 latent channels
    int64_t out_channels = 64;
    int64_t vec_in_dim = 768;       // width of the pooled text vector
    int64_t context_in_dim = 4096;  // width of the text tokens
    int64_t hidden_size = 3072;
    double mlp_ratio = 4.0;
    int64_t num_heads = 24;
    int64_t depth = 19;
    int64_t depth_single_blocks = 38;
    std::array<int64_t, 3> axes_dim = {16, 56, 56};  // rotary channels for (index, row, column)
    int64_t theta = 10000;
    bool qkv_bias = true;
    bool guidance_embed = false;
    double qk_norm_eps =
        1.1920928955078125e-07;  // fp32 machine epsilon; the published inference code has 1e-6

    int64_t head_dim() const { return hidden_size / num_heads; }
    int64_t mlp_hidden() const {
        return static_cast<int64_t>(static_cast<double>(hidden_size) * mlp_ratio);
    }
    bool operator==(const FluxConfig&) const = default;
};

/// flux-schnell, flux-dev (with guidance embedding), flux-debug, flux-tiny. Throws ConfigError
/// naming the nearest.
FluxConfig flavor(std::string_view name);
std::vector<std::string> flavor_names();

/// Throws ConfigError naming the key when the dimensions do not fit together.
void check(const FluxConfig& config);

}  // namespace flux::model
