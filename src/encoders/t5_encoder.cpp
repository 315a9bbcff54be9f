#include "flux/encoders/t5_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "flux/base/error.h"
#include "flux/base/shape.h"
#include "flux/kernels/device_copy.h"
#include "flux/model/layers.h"

namespace flux::encoders {
namespace {

using model::Linear;
using units::ParameterScope;

const units::Init kFromFile = units::Init::constant(0);

constexpr const char* kShared = "shared.weight";
constexpr const char* kTiedCopy = "encoder.embed_tokens.weight";

class RmsNorm {
public:
    RmsNorm(const ParameterScope& scope, const T5Config& config) : eps_(config.layer_norm_epsilon) {
        scope.add("weight", weight_, {config.d_model}, kFromFile);
    }
    RmsNorm(const RmsNorm&) = delete;

    at::Tensor operator()(const at::Tensor& x) const { return model::rms_norm(x, weight_, eps_); }

private:
    double eps_;
    at::Tensor weight_;
};

class Embedding final : public units::Unit<T5State> {
public:
    explicit Embedding(const T5Config& config) {
        scope("shared").add("weight", weight_, {config.vocab_size, config.d_model}, kFromFile);
    }

    T5State forward(const T5State& in, kernels::Memo* /*memo*/) const override {
        T5State out = in;
        out.hidden = at::embedding(weight_, in.ids);
        return out;
    }

private:
    at::Tensor weight_;
};

class Attention {
public:
    Attention(const ParameterScope& scope, const T5Config& config, bool has_bias)
        : config_(config),
          q_(scope / "q", config.d_model, config.num_heads * config.d_kv, kFromFile, false),
          k_(scope / "k", config.d_model, config.num_heads * config.d_kv, kFromFile, false),
          v_(scope / "v", config.d_model, config.num_heads * config.d_kv, kFromFile, false),
          o_(scope / "o", config.num_heads * config.d_kv, config.d_model, kFromFile, false) {
        if (has_bias) {
            (scope / "relative_attention_bias")
                .add("weight", relative_bias_,
                     {config.relative_attention_num_buckets, config.num_heads}, kFromFile);
        }
    }
    Attention(const Attention&) = delete;

    /// [1, H, L, L]; only the first block has the weights for it.
    at::Tensor bias(int64_t length) const {
        const at::Tensor buckets = relative_position_buckets(length, config_);
        return at::embedding(relative_bias_, kernels::to_device(buckets, relative_bias_.device()))
            .permute({2, 0, 1})
            .unsqueeze(0)
            .contiguous();
    }

    /// Scores are not divided by the root of the head size: the weights have learned it.
    at::Tensor operator()(const at::Tensor& x, const at::Tensor& bias) const {  // [B, L, C]
        const at::Tensor mixed = at::scaled_dot_product_attention(
            heads(q_(x)), heads(k_(x)), heads(v_(x)), bias.expand({x.size(0), -1, -1, -1}),
            /*dropout_p=*/0.0, /*is_causal=*/false, /*scale=*/1.0);
        return o_(mixed.transpose(1, 2).flatten(2));
    }

private:
    at::Tensor heads(const at::Tensor& x) const {  // [B, L, H d_kv] -> [B, H, L, d_kv]
        return x.unflatten(-1, {config_.num_heads, config_.d_kv}).transpose(1, 2);
    }

    T5Config config_;
    Linear q_;
    Linear k_;
    Linear v_;
    Linear o_;
    at::Tensor relative_bias_;
};

class GatedFeedForward {
public:
    GatedFeedForward(const ParameterScope& scope, const T5Config& config)
        : gate_(config.gate),
          wi_0_(scope / "wi_0", config.d_model, config.d_ff, kFromFile, false),
          wi_1_(scope / "wi_1", config.d_model, config.d_ff, kFromFile, false),
          wo_(scope / "wo", config.d_ff, config.d_model, kFromFile, false) {}

    at::Tensor operator()(const at::Tensor& x) const {
        const at::Tensor gate = wi_0_(x);
        return wo_((gate_ == T5Config::Gate::kSilu ? at::silu(gate) : at::gelu(gate, "tanh")) *
                   wi_1_(x));
    }

private:
    T5Config::Gate gate_;
    Linear wi_0_;
    Linear wi_1_;
    Linear wo_;
};

class Block final : public units::Unit<T5State> {
public:
    Block(const T5Config& config, int64_t index)
        : first_(index == 0),
          block_(scope(fmt::format("encoder.block.{}", index))),
          attention_norm_(block_ / "layer.0.layer_norm", config),
          attention_(block_ / "layer.0.SelfAttention", config, first_),
          feed_forward_norm_(block_ / "layer.1.layer_norm", config),
          feed_forward_(block_ / "layer.1.DenseReluDense", config) {}

    T5State forward(const T5State& in, kernels::Memo* /*memo*/) const override {
        T5State out = in;
        if (first_) {
            out.bias = attention_.bias(in.ids.size(1));
        }
        out.hidden = in.hidden + attention_(attention_norm_(in.hidden), out.bias);
        out.hidden = out.hidden + feed_forward_(feed_forward_norm_(out.hidden));
        return out;
    }

private:
    bool first_;
    ParameterScope block_;
    RmsNorm attention_norm_;
    Attention attention_;
    RmsNorm feed_forward_norm_;
    GatedFeedForward feed_forward_;
};

class FinalNorm final : public units::Unit<T5State> {
public:
    explicit FinalNorm(const T5Config& config) : norm_(scope("encoder.final_layer_norm"), config) {}

    T5State forward(const T5State& in, kernels::Memo* /*memo*/) const override {
        T5State out = in;
        out.hidden = norm_(in.hidden);
        return out;
    }

private:
    RmsNorm norm_;
};

units::UnitRunner<T5State>::UnitList make_units(const T5Config& config) {
    units::UnitRunner<T5State>::UnitList units;
    units.push_back(std::make_unique<Embedding>(config));
    for (int64_t i = 0; i < config.num_layers; ++i) {
        units.push_back(std::make_unique<Block>(config, i));
    }
    units.push_back(std::make_unique<FinalNorm>(config));
    return units;
}

/// The table of embeddings goes by one of two names, or by both for the same values.
Layout layout_of(const SafetensorsSet& weights) {
    const bool tied_only = !weights.has(kShared) && weights.has(kTiedCopy);
    return [tied_only](const units::Parameter& parameter) {
        return FileTensor{tied_only && parameter.name == kShared ? kTiedCopy : parameter.name,
                          parameter.shape};
    };
}

}  // namespace

std::vector<Binding> bind_t5(const T5Config& config, const SafetensorsSet& weights) {
    return bind_weights(weights, ModelKind::kT5, all_parameters(make_units(config)),
                        layout_of(weights));
}

WeightBytes weight_bytes(const T5Config& config, const Placement& placement) {
    return weight_bytes_of(make_units(config), placement);
}

T5Encoder::T5Encoder(const T5Config& config, const SafetensorsSet& weights,
                     const Placement& placement)
    : config_(config), device_(placement.device) {
    const std::vector<Binding> bindings = bind_t5(config, weights);
    check_tied_copies(weights, kShared, kTiedCopy);
    runner_ = std::make_unique<units::UnitRunner<T5State>>(make_units(config), placement.store(),
                                                           units::RecomputePolicy::none());
    load_weights(weights, bindings, runner_->store());
}

at::Tensor T5Encoder::forward(const at::Tensor& ids) const {
    check_shape(ids, {-1, -1}, "T5 token ids");
    return runner_->forward({.ids = kernels::to_device(ids, device_), .hidden = {}, .bias = {}})
        .hidden;
}

at::Tensor relative_position_buckets(int64_t length, const T5Config& config) {
    const int64_t half = config.relative_attention_num_buckets / 2;
    const int64_t exact = half / 2;
    const at::Tensor positions = at::arange(length, at::kLong);
    const at::Tensor offset = positions.unsqueeze(0) - positions.unsqueeze(1);  // key - query
    const at::Tensor distance = offset.abs();
    const double widest = std::log(static_cast<double>(config.relative_attention_max_distance) /
                                   static_cast<double>(exact));
    // In fp32 and in this order, as the reference: borders of buckets fall on whole distances. The
    // logarithm of distance 0 is cut off before it is converted; where() does not use it.
    const at::Tensor logarithms =
        (distance.clamp_min(1).to(at::kFloat) / static_cast<double>(exact)).log();
    const at::Tensor far =
        (exact + (logarithms / widest * static_cast<double>(half - exact)).to(at::kLong))
            .clamp_max(half - 1);
    return at::where(distance < exact, distance, far) + (offset > 0).to(at::kLong) * half;
}

}  // namespace flux::encoders
