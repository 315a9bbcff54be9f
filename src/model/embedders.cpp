#include <ATen/TensorOperators.h>

#include <optional>

#include "flux/model/blocks.h"
#include "flux/model/layers.h"

namespace flux::model {
namespace {

class Embedders final : public FluxUnit {
public:
    explicit Embedders(const FluxConfig& c)
        : img_in_(scope("img_in"), c.in_channels, c.hidden_size,
                  xavier(c.in_channels, c.hidden_size)),
          time_in_(scope("time_in"), kTimestepEmbedding, c.hidden_size),
          vector_in_(scope("vector_in"), c.vec_in_dim, c.hidden_size),
          txt_in_(scope("txt_in"), c.context_in_dim, c.hidden_size,
                  xavier(c.context_in_dim, c.hidden_size)) {
        if (c.guidance_embed) {
            guidance_in_.emplace(scope("guidance_in"), kTimestepEmbedding, c.hidden_size);
        }
    }

    FluxState forward(const FluxState& in, kernels::Memo* /*memo*/) const override {
        FluxState out = in;
        out.img = img_in_(in.img);
        out.txt = txt_in_(in.txt);
        out.vec = time_in_(in.time_embedding);
        if (guidance_in_) {
            out.vec = out.vec + (*guidance_in_)(in.guidance_embedding);
        }
        out.vec = out.vec + vector_in_(in.pooled);
        return out;
    }

private:
    Linear img_in_;
    MlpEmbedder time_in_;
    MlpEmbedder vector_in_;
    Linear txt_in_;
    std::optional<MlpEmbedder> guidance_in_;
};

}  // namespace

std::unique_ptr<FluxUnit> make_embedders(const FluxConfig& config) {
    return std::make_unique<Embedders>(config);
}

}  // namespace flux::model
