#include "flux/model/flops.h"

#include "flux/model/layers.h"
#include "flux/model/mmdit.h"

namespace flux::model {
namespace {

double product(int64_t rows, int64_t in, int64_t out) {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
}

}  // namespace

int64_t parameter_count(const FluxConfig& config) {
    int64_t count = 0;
    for (const auto& unit : make_units(config)) {
        for (const units::Parameter& parameter : unit->parameters()) {
            count += parameter.numel();
        }
    }
    return count;
}

double training_flops(const FluxConfig& c, int64_t image_tokens, int64_t text_tokens) {
    const int64_t tokens = image_tokens + text_tokens;
    const int64_t hidden = c.hidden_size;
    const int64_t mlp = c.mlp_hidden();
    const double attention = 2 * product(tokens, tokens, hidden);
    const double embed =
        product(image_tokens, c.in_channels, hidden) +
        product(text_tokens, c.context_in_dim, hidden) + product(1, kTimestepEmbedding, hidden) +
        product(1, hidden, hidden) + product(1, c.vec_in_dim, hidden) + product(1, hidden, hidden) +
        (c.guidance_embed ? product(1, kTimestepEmbedding, hidden) + product(1, hidden, hidden)
                          : 0);
    const double double_block = product(tokens, hidden, 4 * hidden) +
                                2 * product(tokens, hidden, mlp) +
                                2 * product(1, hidden, 6 * hidden) + attention;
    const double single_block = product(tokens, hidden, 3 * hidden + mlp) +
                                product(tokens, hidden + mlp, hidden) +
                                product(1, hidden, 3 * hidden) + attention;
    const double last =
        product(image_tokens, hidden, c.out_channels) + product(1, hidden, 2 * hidden);
    const double forward = embed + static_cast<double>(c.depth) * double_block +
                           static_cast<double>(c.depth_single_blocks) * single_block + last;
    return 3 * forward;
}

LastProductFlops last_product_flops(const FluxConfig& c, int64_t tokens) {
    return {product(tokens, c.mlp_hidden(), c.hidden_size),
            product(tokens, c.hidden_size + c.mlp_hidden(), c.hidden_size)};
}

}  // namespace flux::model
