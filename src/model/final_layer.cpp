#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>

#include "flux/model/blocks.h"
#include "flux/model/layers.h"

namespace flux::model {
namespace {

class FinalLayer final : public FluxUnit {
public:
    FinalLayer(const FluxConfig& c, kernels::Path path)
        : path_(path),
          linear_(scope("final_layer.linear"), c.hidden_size, c.out_channels, Init::constant(0)),
          modulation_(scope("final_layer.adaLN_modulation.1"), c.hidden_size, 2 * c.hidden_size,
                      Init::constant(0)) {}

    FluxState forward(const FluxState& in, kernels::Memo* /*memo*/) const override {
        const auto parts =
            modulation_(at::silu(in.vec)).unsqueeze(1).chunk(2, -1);  // shift, scale: [B, 1, C]
        FluxState out;
        out.img = linear_(kernels::norm_modulate(path_, in.img, parts[0], parts[1]).x);
        return out;
    }

private:
    kernels::Path path_;
    Linear linear_;
    Linear modulation_;
};

}  // namespace

std::unique_ptr<FluxUnit> make_final_layer(const FluxConfig& config, kernels::Path path) {
    return std::make_unique<FinalLayer>(config, path);
}

}  // namespace flux::model
