#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include "flux/model/attention.h"
#include "flux/model/blocks.h"
#include "flux/model/layers.h"

namespace flux::model {
namespace {

using units::ParameterScope;

/// The weights of one of the two streams; `prefix` is "img" or "txt".
struct Stream {
    Stream(const ParameterScope& block, const std::string& prefix, const FluxConfig& c)
        : mod(block / (prefix + "_mod"), c.hidden_size, 2),
          qkv(block / (prefix + "_attn.qkv"), c.hidden_size, 3 * c.hidden_size,
              xavier(c.hidden_size, 3 * c.hidden_size), c.qkv_bias),
          norm(block / (prefix + "_attn.norm"), c),
          proj(block / (prefix + "_attn.proj"), c.hidden_size, c.hidden_size,
               xavier(c.hidden_size, c.hidden_size)),
          mlp(block / (prefix + "_mlp"), c.hidden_size, c.mlp_hidden()),
          num_heads(c.num_heads) {}

    QueryKeyValue heads(const at::Tensor& x, const ShiftScaleGate& m) const {
        return norm(split_heads(qkv(norm_and_modulate(x, m.shift, m.scale)), num_heads));
    }

    /// Residual of attention, then of the MLP.
    at::Tensor finish(const at::Tensor& x, const at::Tensor& attention,
                      const std::vector<ShiftScaleGate>& m) const {
        const at::Tensor attended = x + m[0].gate * proj(attention);
        return attended + m[1].gate * mlp(norm_and_modulate(attended, m[1].shift, m[1].scale));
    }

    Modulation mod;
    Linear qkv;
    QkNorm norm;
    Linear proj;
    Mlp mlp;
    int64_t num_heads;
};

at::Tensor join_tokens(const at::Tensor& txt, const at::Tensor& img) {
    return at::cat({txt, img}, 2);
}

class DoubleBlock final : public FluxUnit {
public:
    DoubleBlock(const FluxConfig& config, const std::string& name)
        : img_(scope(name), "img", config), txt_(scope(name), "txt", config) {}

    FluxState forward(const FluxState& in) const override {
        const auto img_mod = img_.mod(in.vec);
        const auto txt_mod = txt_.mod(in.vec);
        const QueryKeyValue img = img_.heads(in.img, img_mod[0]);
        const QueryKeyValue txt = txt_.heads(in.txt, txt_mod[0]);
        const at::Tensor attention = attend(
            {join_tokens(txt.q, img.q), join_tokens(txt.k, img.k), join_tokens(txt.v, img.v)},
            in.positions);
        const int64_t image_tokens = in.img.size(1);
        FluxState out = in;
        out.img = img_.finish(in.img, attention.narrow(1, in.text_tokens, image_tokens), img_mod);
        out.txt = txt_.finish(in.txt, attention.narrow(1, 0, in.text_tokens), txt_mod);
        return out;
    }

private:
    Stream img_;
    Stream txt_;
};

}  // namespace

std::unique_ptr<FluxUnit> make_double_block(const FluxConfig& config, int64_t index) {
    return std::make_unique<DoubleBlock>(config, "double_blocks." + std::to_string(index));
}

}  // namespace flux::model
