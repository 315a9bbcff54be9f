// The encoder half of T5 v1.1: token embeddings, blocks of self-attention with a learned bias for
// relative positions and a gated feed-forward part, RMS norms. Numerics and parameter names follow
// the published checkpoints and Hugging Face transformers. Padding is attended to, as the reference
// trainer does.
//
// Legend: B batch, L tokens, C width (d_model), H heads.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "flux/encoders/frozen.h"
#include "flux/units/unit_runner.h"

namespace flux::encoders {

struct T5Config {
    int64_t vocab_size;
    int64_t d_model;
    int64_t d_kv;  // width of one head
    int64_t d_ff;
    int64_t num_layers;
    int64_t num_heads;
    int64_t relative_attention_num_buckets = 32;
    int64_t relative_attention_max_distance = 128;
    double layer_norm_epsilon = 1e-6;
    enum class Gate { kGeluTanh, kSilu } gate = Gate::kGeluTanh;
};

/// From a config.json. Throws Error naming file, key and value.
T5Config read_t5_config(const std::filesystem::path& config_json);

/// From the tensors' shapes; what shapes do not show has the values of all published sizes.
T5Config t5_config_of(const SafetensorsSet& weights);

struct T5State {
    at::Tensor ids;     // int64 [B, L]
    at::Tensor hidden;  // [B, L, C]
    at::Tensor bias;    // [1, H, L, L] of the first block, for all blocks

    static constexpr std::array kFlow{&T5State::hidden};
};

class T5Encoder {
public:
    /// Binds and loads the weights. Throws Error naming the tensor that does not fit.
    T5Encoder(const T5Config& config, const SafetensorsSet& weights, const Placement& placement);

    at::Tensor forward(const at::Tensor& ids) const;  // [B, L] -> [B, L, C] in the compute dtype

    const T5Config& config() const { return config_; }

private:
    T5Config config_;
    at::Device device_;
    std::unique_ptr<units::UnitRunner<T5State>> runner_;
};

/// Every tensor of the model found in `weights`, by name and shape; reads no data.
std::vector<Binding> bind_t5(const T5Config& config, const SafetensorsSet& weights);

/// What the weights take, without reading any.
WeightBytes weight_bytes(const T5Config& config, const Placement& placement);

/// Bucket of (key - query), int64 [length, length]: half of the buckets for keys that follow, in
/// each half exact distances first, then logarithmic ones up to the maximum distance.
at::Tensor relative_position_buckets(int64_t length, const T5Config& config);

}  // namespace flux::encoders
