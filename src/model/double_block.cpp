#include <array>

#include "flux/model/attention.h"
#include "flux/model/blocks.h"
#include "flux/model/layers.h"

namespace flux::model {
namespace {

using units::ParameterScope;

/// The weights of one of the two streams; `prefix` is "img" or "txt".
struct Stream {
    Stream(const ParameterScope& block, const std::string& prefix, const FluxConfig& c,
           const Execution& how)
        : mod(block / (prefix + "_mod"), c.hidden_size, 2),
          qkv(block_linear(how, block / (prefix + "_attn.qkv"), c.hidden_size, 3 * c.hidden_size,
                           c.qkv_bias)),
          norm(block / (prefix + "_attn.norm"), c),
          proj(block_linear(how, block / (prefix + "_attn.proj"), c.hidden_size, c.hidden_size)),
          mlp_up(block_linear(how, block / (prefix + "_mlp.0"), c.hidden_size, c.mlp_hidden())),
          mlp_down(block_linear(how, block / (prefix + "_mlp.2"), c.mlp_hidden(), c.hidden_size)) {}

    kernels::PackedHeads heads(kernels::Path path, const at::Tensor& x,
                               const ShiftScaleGate& m) const {
        return norm.pack(path, qkv, kernels::norm_modulate(path, x, m.shift, m.scale));
    }

    /// Residual of attention, then of the MLP.
    at::Tensor finish(kernels::Path path, const at::Tensor& x, const at::Tensor& attention,
                      const std::vector<ShiftScaleGate>& m, kernels::Memo* memo) const {
        const at::Tensor attended = kernels::gated_residual(
            path, x, m[0].gate, proj.product(path, {.x = attention}), proj.bias);
        const kernels::LinearInput inner = kernels::bias_gelu(
            path,
            mlp_up.product(path, kernels::norm_modulate(path, attended, m[1].shift, m[1].scale)),
            mlp_up.bias, memo);
        return kernels::gated_residual(path, attended, m[1].gate,
                                       mlp_down.product(path, inner, memo), mlp_down.bias);
    }

    Modulation mod;
    Linear qkv;
    QkNorm norm;
    Linear proj;
    Linear mlp_up;
    Linear mlp_down;
};

class DoubleBlock final : public FluxUnit {
public:
    DoubleBlock(const FluxConfig& config, const Execution& how, const std::string& name)
        : path_(how.path),
          img_(scope(name), "img", config, how),
          txt_(scope(name), "txt", config, how) {}

    FluxState forward(const FluxState& in, kernels::Memo* memo) const override {
        const auto img_mod = img_.mod(in.vec);
        const auto txt_mod = txt_.mod(in.vec);
        const at::Tensor attention =
            attend(path_,
                   kernels::split_heads(path_,
                                        std::array{txt_.heads(path_, in.txt, txt_mod[0]),
                                                   img_.heads(path_, in.img, img_mod[0])},
                                        in.positions.cos, in.positions.sin, img_.norm.eps(), memo),
                   memo);
        const auto parts = attention.split_with_sizes({in.text_tokens, in.img.size(1)}, 1);
        FluxState out = in;
        out.txt = txt_.finish(path_, in.txt, parts[0], txt_mod, memo);
        out.img = img_.finish(path_, in.img, parts[1], img_mod, memo);
        return out;
    }

private:
    kernels::Path path_;
    Stream img_;
    Stream txt_;
};

}  // namespace

std::unique_ptr<FluxUnit> make_double_block(const FluxConfig& config, const Execution& execution,
                                            int64_t index) {
    return std::make_unique<DoubleBlock>(config, execution,
                                         "double_blocks." + std::to_string(index));
}

}  // namespace flux::model
