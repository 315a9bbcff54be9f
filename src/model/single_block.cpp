#include <ATen/ops/cat.h>

#include <array>
#include <span>

#include "flux/model/attention.h"
#include "flux/model/blocks.h"
#include "flux/model/layers.h"

namespace flux::model {
namespace {

class SingleBlock final : public FluxUnit {
public:
    SingleBlock(const FluxConfig& c, const Execution& how, int64_t index)
        : SingleBlock(c, how, "single_blocks." + std::to_string(index),
                      index + 1 == c.depth_single_blocks) {}

    FluxState forward(const FluxState& in, kernels::Memo* memo) const override {
        const at::Tensor joint =
            in.joint.defined() ? in.joint : at::cat({in.txt, in.img}, 1);  // [B, T, C]
        // Nobody reads the text after the last block. Its queries, which fused heads and attention
        // make with the others, are dropped there.
        const int64_t first = is_last_ ? in.text_tokens : 0;  // token that is handed on
        const at::Tensor x = kernels::tokens_from(first, {.x = joint}).x;
        const ShiftScaleGate mod = modulation_(in.vec)[0];
        const kernels::Heads heads = heads_of(joint, first, mod, in.positions, memo);
        const std::array inner{kernels::tokens_from(first, {.x = attend(path_, heads, memo)}),
                               heads.mlp};
        FluxState out = in;
        out.txt.reset();
        out.img.reset();
        out.joint.reset();
        (is_last_ ? out.img : out.joint) = kernels::gated_residual(
            path_, x, mod.gate, linear2_.product(path_, inner, memo), linear2_.bias);
        return out;
    }

private:
    SingleBlock(const FluxConfig& c, const Execution& how, const std::string& name, bool is_last)
        : path_(how.path),
          is_last_(is_last),
          linear1_(block_linear(how, scope(name + ".linear1"), c.hidden_size,
                                3 * c.hidden_size + c.mlp_hidden())),
          linear2_(block_linear(how, scope(name + ".linear2"), c.hidden_size + c.mlp_hidden(),
                                c.hidden_size)),
          norm_(scope(name + ".norm"), c),
          modulation_(scope(name + ".modulation"), c.hidden_size, 1) {}

    /// The MLP's part is of the tokens from `first` on.
    kernels::Heads heads_of(const at::Tensor& joint, int64_t first, const ShiftScaleGate& mod,
                            const RotaryTable& positions, kernels::Memo* memo) const {
        const kernels::LinearInput x = kernels::norm_modulate(path_, joint, mod.shift, mod.scale);
        if (first == 0) {
            return split(norm_.pack(path_, linear1_, x), positions, memo);
        }
        const auto [qkv, mlp_up] = linear1_.cut(3 * x.x.size(2));
        kernels::Heads heads = split(norm_.pack(path_, qkv, x), positions, memo);
        heads.mlp = kernels::bias_gelu(path_, mlp_up.product(path_, kernels::tokens_from(first, x)),
                                       mlp_up.bias, memo);
        return heads;
    }

    kernels::Heads split(const kernels::PackedHeads& packed, const RotaryTable& positions,
                         kernels::Memo* memo) const {
        return kernels::split_heads(path_, std::span(&packed, 1), positions.cos, positions.sin,
                                    norm_.eps(), memo);
    }

    kernels::Path path_;
    bool is_last_;
    Linear linear1_;
    Linear linear2_;
    QkNorm norm_;
    Modulation modulation_;
};

}  // namespace

std::unique_ptr<FluxUnit> make_single_block(const FluxConfig& config, const Execution& execution,
                                            int64_t index) {
    return std::make_unique<SingleBlock>(config, execution, index);
}

}  // namespace flux::model
