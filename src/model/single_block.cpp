#include <ATen/ops/cat.h>

#include <array>

#include "flux/model/attention.h"
#include "flux/model/blocks.h"
#include "flux/model/layers.h"

namespace flux::model {
namespace {

class SingleBlock final : public FluxUnit {
public:
    SingleBlock(const FluxConfig& c, const Execution& how, const std::string& name)
        : path_(how.path),
          linear1_(block_linear(how, scope(name + ".linear1"), c.hidden_size,
                                3 * c.hidden_size + c.mlp_hidden())),
          linear2_(block_linear(how, scope(name + ".linear2"), c.hidden_size + c.mlp_hidden(),
                                c.hidden_size)),
          norm_(scope(name + ".norm"), c),
          modulation_(scope(name + ".modulation"), c.hidden_size, 1) {}

    FluxState forward(const FluxState& in, kernels::Memo* memo) const override {
        FluxState out = in;
        const at::Tensor x =
            in.joint.defined() ? in.joint : at::cat({in.txt, in.img}, 1);  // [B, T, C]
        const ShiftScaleGate mod = modulation_(in.vec)[0];
        const std::array parts{
            norm_.pack(path_, linear1_, kernels::norm_modulate(path_, x, mod.shift, mod.scale))};
        const kernels::Heads heads =
            kernels::split_heads(path_, parts, in.positions.cos, in.positions.sin, norm_.eps());
        const std::array inner{kernels::LinearInput{.x = attend(path_, heads, memo)}, heads.mlp};
        out.joint = kernels::gated_residual(path_, x, mod.gate,
                                            linear2_.product(path_, inner, memo), linear2_.bias());
        out.img.reset();
        out.txt.reset();
        return out;
    }

private:
    kernels::Path path_;
    Linear linear1_;
    Linear linear2_;
    QkNorm norm_;
    Modulation modulation_;
};

}  // namespace

std::unique_ptr<FluxUnit> make_single_block(const FluxConfig& config, const Execution& execution,
                                            int64_t index) {
    return std::make_unique<SingleBlock>(config, execution,
                                         "single_blocks." + std::to_string(index));
}

}  // namespace flux::model
