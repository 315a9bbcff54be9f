// CLIP's text encoder: token and position embeddings, pre-norm transformer layers with causal
// attention, a final LayerNorm. The pooled vector is the last hidden state at the end of the text.
// Numerics and parameter names follow the published checkpoints and Hugging Face transformers.
//
// Legend: B batch, L tokens, C width, H heads.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "flux/encoders/frozen.h"
#include "flux/units/unit_runner.h"

namespace flux::encoders {

struct ClipTextConfig {
    int64_t vocab_size;
    int64_t hidden_size;
    int64_t intermediate_size;
    int64_t num_hidden_layers;
    int64_t num_attention_heads;
    int64_t max_position_embeddings = 77;
    double layer_norm_eps = 1e-5;
    enum class Activation { kQuickGelu, kGelu, kGeluTanh } activation = Activation::kQuickGelu;
    /// 2 stands in the oldest configurations for "the largest id", wherever it is.
    int64_t eos_token_id = 2;
};

/// From a config.json, of the text encoder alone or of the whole CLIP. Throws Error naming file,
/// key and value.
ClipTextConfig read_clip_config(const std::filesystem::path& config_json);

/// From the tensors' shapes; what shapes do not show has the values of OpenAI's ViT-L/14.
ClipTextConfig clip_config_of(const SafetensorsSet& weights);

struct ClipState {
    at::Tensor ids;     // int64 [B, L]
    at::Tensor hidden;  // [B, L, C]

    static constexpr std::array kFlow{&ClipState::hidden};
};

struct ClipOutput {
    at::Tensor hidden;  // [B, L, C] after the final norm
    at::Tensor pooled;  // [B, C]
};

class ClipText {
public:
    /// Binds and loads the weights. Throws Error naming the tensor that does not fit.
    ClipText(const ClipTextConfig& config, const SafetensorsSet& weights,
             const Placement& placement);

    ClipOutput forward(const at::Tensor& ids) const;  // [B, L], in the compute dtype

    const ClipTextConfig& config() const { return config_; }

private:
    ClipTextConfig config_;
    at::Device device_;
    std::unique_ptr<units::UnitRunner<ClipState>> runner_;
};

/// Every tensor of the model found in `weights`, by name and shape; reads no data. Files name the
/// tensors with the prefix "text_model." or without.
std::vector<Binding> bind_clip(const ClipTextConfig& config, const SafetensorsSet& weights);

/// What the weights take, without reading any.
WeightBytes weight_bytes(const ClipTextConfig& config, const Placement& placement);

}  // namespace flux::encoders
