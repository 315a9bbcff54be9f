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

BlockFlops block_flops(const FluxConfig& c, int64_t block, int64_t image_tokens,
                       int64_t text_tokens) {
    const int64_t tokens = image_tokens + text_tokens, hidden = c.hidden_size;
    const int64_t mlp = c.mlp_hidden();
    const double attention = 2 * product(tokens, tokens, hidden);
    if (block < c.depth) {
        const double down = product(tokens, mlp, hidden);
        return {.all = product(tokens, hidden, 4 * hidden) + product(tokens, hidden, mlp) + down +
                       2 * product(1, hidden, 6 * hidden) + attention,
                .last_product = down};
    }
    const bool is_last = block + 1 == c.depth + c.depth_single_blocks;
    const int64_t handed_on = is_last ? image_tokens : tokens;
    const double linear2 = product(handed_on, hidden + mlp, hidden);
    return {.all = product(tokens, hidden, 3 * hidden) + product(handed_on, hidden, mlp) + linear2 +
                   product(1, hidden, 3 * hidden) + attention,
            .last_product = linear2};
}

double training_flops(const FluxConfig& c, int64_t image_tokens, int64_t text_tokens) {
    const int64_t hidden = c.hidden_size;
    const double embed =
        product(image_tokens, c.in_channels, hidden) +
        product(text_tokens, c.context_in_dim, hidden) + product(1, kTimestepEmbedding, hidden) +
        product(1, hidden, hidden) + product(1, c.vec_in_dim, hidden) + product(1, hidden, hidden) +
        (c.guidance_embed ? product(1, kTimestepEmbedding, hidden) + product(1, hidden, hidden)
                          : 0);
    double forward =
        embed + product(image_tokens, hidden, c.out_channels) + product(1, hidden, 2 * hidden);
    for (int64_t block = 0; block < c.depth + c.depth_single_blocks; ++block) {
        forward += block_flops(c, block, image_tokens, text_tokens).all;
    }
    return 3 * forward;
}

}  // namespace flux::model
