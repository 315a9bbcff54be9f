#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>

#include "flux/model/attention.h"
#include "flux/model/blocks.h"
#include "flux/model/layers.h"

namespace flux::model {
namespace {

class SingleBlock final : public FluxUnit {
public:
    SingleBlock(const FluxConfig& c, const std::string& name)
        : hidden_(c.hidden_size),
          mlp_hidden_(c.mlp_hidden()),
          num_heads_(c.num_heads),
          linear1_(scope(name + ".linear1"), hidden_, 3 * hidden_ + mlp_hidden_,
                   xavier(hidden_, 3 * hidden_ + mlp_hidden_)),
          linear2_(scope(name + ".linear2"), hidden_ + mlp_hidden_, hidden_,
                   xavier(hidden_ + mlp_hidden_, hidden_)),
          norm_(scope(name + ".norm"), c),
          modulation_(scope(name + ".modulation"), hidden_, 1) {}

    FluxState forward(const FluxState& in) const override {
        FluxState out = in;
        const at::Tensor x =
            in.joint.defined() ? in.joint : at::cat({in.txt, in.img}, 1);  // [B, T, C]
        const ShiftScaleGate mod = modulation_(in.vec)[0];
        const at::Tensor wide = linear1_(norm_and_modulate(x, mod.shift, mod.scale));
        const at::Tensor attention =
            attend(norm_(split_heads(wide.narrow(-1, 0, 3 * hidden_), num_heads_)), in.positions);
        const at::Tensor mlp = at::gelu(wide.narrow(-1, 3 * hidden_, mlp_hidden_), "tanh");
        out.joint = x + mod.gate * linear2_(at::cat({attention, mlp}, 2));
        out.img.reset();
        out.txt.reset();
        return out;
    }

private:
    int64_t hidden_;
    int64_t mlp_hidden_;
    int64_t num_heads_;
    Linear linear1_;
    Linear linear2_;
    QkNorm norm_;
    Modulation modulation_;
};

}  // namespace

std::unique_ptr<FluxUnit> make_single_block(const FluxConfig& config, int64_t index) {
    return std::make_unique<SingleBlock>(config, "single_blocks." + std::to_string(index));
}

}  // namespace flux::model
