#include "flux/encoders/clip_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <c10/util/Exception.h>

#include "encoders/clip_names.h"
#include "flux/base/error.h"
#include "flux/base/shape.h"
#include "flux/kernels/device_copy.h"
#include "flux/model/layers.h"

namespace flux::encoders {
namespace {

using model::Linear;
using units::ParameterScope;

const units::Init kFromFile = units::Init::constant(0);
constexpr int64_t kLargestIdEos = 2;

class LayerNorm {
public:
    LayerNorm(const ParameterScope& scope, const ClipTextConfig& config)
        : eps_(config.layer_norm_eps) {
        scope.add("weight", weight_, {config.hidden_size}, kFromFile);
        scope.add("bias", bias_, {config.hidden_size}, kFromFile);
    }
    LayerNorm(const LayerNorm&) = delete;

    at::Tensor operator()(const at::Tensor& x) const {
        return at::layer_norm(x, {x.size(-1)}, weight_, bias_, eps_);
    }

private:
    double eps_;
    at::Tensor weight_;
    at::Tensor bias_;
};

at::Tensor activate(const at::Tensor& x, ClipTextConfig::Activation activation) {
    switch (activation) {
        case ClipTextConfig::Activation::kQuickGelu:
            return x * at::sigmoid(x * 1.702);
        case ClipTextConfig::Activation::kGelu:
            return at::gelu(x);
        case ClipTextConfig::Activation::kGeluTanh:
            break;
    }
    return at::gelu(x, "tanh");
}

class Embeddings final : public units::Unit<ClipState> {
public:
    explicit Embeddings(const ClipTextConfig& config) {
        const ParameterScope embeddings = scope("embeddings");
        (embeddings / "token_embedding")
            .add("weight", tokens_, {config.vocab_size, config.hidden_size}, kFromFile);
        (embeddings / "position_embedding")
            .add("weight", positions_, {config.max_position_embeddings, config.hidden_size},
                 kFromFile);
    }

    ClipState forward(const ClipState& in, kernels::Memo* /*memo*/) const override {
        ClipState out = in;
        out.hidden = at::embedding(tokens_, in.ids) + positions_.narrow(0, 0, in.ids.size(1));
        return out;
    }

private:
    at::Tensor tokens_;
    at::Tensor positions_;
};

class Layer final : public units::Unit<ClipState> {
public:
    Layer(const ClipTextConfig& config, int64_t index)
        : config_(config),
          layer_(scope(fmt::format("encoder.layers.{}", index))),
          attention_(layer_ / "self_attn"),
          norm1_(layer_ / "layer_norm1", config),
          q_(attention_ / "q_proj", config.hidden_size, config.hidden_size, kFromFile),
          k_(attention_ / "k_proj", config.hidden_size, config.hidden_size, kFromFile),
          v_(attention_ / "v_proj", config.hidden_size, config.hidden_size, kFromFile),
          out_(attention_ / "out_proj", config.hidden_size, config.hidden_size, kFromFile),
          norm2_(layer_ / "layer_norm2", config),
          fc1_(layer_ / "mlp.fc1", config.hidden_size, config.intermediate_size, kFromFile),
          fc2_(layer_ / "mlp.fc2", config.intermediate_size, config.hidden_size, kFromFile) {}

    ClipState forward(const ClipState& in, kernels::Memo* /*memo*/) const override {
        ClipState out = in;
        const at::Tensor x = norm1_(in.hidden);
        const at::Tensor mixed =
            at::scaled_dot_product_attention(heads(q_(x)), heads(k_(x)), heads(v_(x)),
                                             /*attn_mask=*/{}, /*dropout_p=*/0.0,
                                             /*is_causal=*/true);
        out.hidden = in.hidden + out_(mixed.transpose(1, 2).flatten(2));
        out.hidden = out.hidden + fc2_(activate(fc1_(norm2_(out.hidden)), config_.activation));
        return out;
    }

private:
    at::Tensor heads(const at::Tensor& x) const {  // [B, L, C] -> [B, H, L, C / H]
        return x.unflatten(-1, {config_.num_attention_heads, -1}).transpose(1, 2);
    }

    ClipTextConfig config_;
    ParameterScope layer_;
    ParameterScope attention_;
    LayerNorm norm1_;
    Linear q_;
    Linear k_;
    Linear v_;
    Linear out_;
    LayerNorm norm2_;
    Linear fc1_;
    Linear fc2_;
};

class FinalNorm final : public units::Unit<ClipState> {
public:
    explicit FinalNorm(const ClipTextConfig& config) : norm_(scope("final_layer_norm"), config) {}

    ClipState forward(const ClipState& in, kernels::Memo* /*memo*/) const override {
        ClipState out = in;
        out.hidden = norm_(in.hidden);
        return out;
    }

private:
    LayerNorm norm_;
};

units::UnitRunner<ClipState>::UnitList make_units(const ClipTextConfig& config) {
    units::UnitRunner<ClipState>::UnitList units;
    units.push_back(std::make_unique<Embeddings>(config));
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
        units.push_back(std::make_unique<Layer>(config, i));
    }
    units.push_back(std::make_unique<FinalNorm>(config));
    return units;
}

/// The position of each row's end of text: of its first largest id, or of its first `eos`, or 0
/// where there is none.
at::Tensor end_of_text(const at::Tensor& ids, int64_t eos) {  // [B, L] -> int64 [B]
    return eos == kLargestIdEos ? ids.argmax(-1) : at::eq(ids, eos).to(at::kInt).argmax(-1);
}

}  // namespace

std::vector<Binding> bind_clip(const ClipTextConfig& config, const SafetensorsSet& weights) {
    const std::string prefix = clip_prefix(weights);
    const auto layout = [&prefix](const units::Parameter& parameter) {
        return FileTensor{prefix + parameter.name, parameter.shape};
    };
    return bind_weights(weights, ModelKind::kClip, all_parameters(make_units(config)), layout);
}

WeightBytes weight_bytes(const ClipTextConfig& config, const Placement& placement) {
    return weight_bytes_of(make_units(config), placement);
}

ClipText::ClipText(const ClipTextConfig& config, const SafetensorsSet& weights,
                   const Placement& placement)
    : config_(config), device_(placement.device) {
    const std::vector<Binding> bindings = bind_clip(config, weights);
    runner_ = std::make_unique<units::UnitRunner<ClipState>>(make_units(config), placement.store(),
                                                             units::RecomputePolicy::none());
    load_weights(weights, bindings, runner_->store());
}

ClipOutput ClipText::forward(const at::Tensor& ids) const {
    check_shape(ids, {-1, -1}, "CLIP token ids");
    TORCH_CHECK(ids.size(1) <= config_.max_position_embeddings, "CLIP: ", ids.size(1), " ids for ",
                config_.max_position_embeddings, " positions");
    const at::Tensor on_device = kernels::to_device(ids, device_);
    const at::Tensor hidden = runner_->forward({.ids = on_device, .hidden = {}}).hidden;
    const at::Tensor rows = at::arange(ids.size(0), at::TensorOptions(device_).dtype(at::kLong));
    return {hidden, hidden.index({rows, end_of_text(on_device, config_.eos_token_id)})};
}

}  // namespace flux::encoders
