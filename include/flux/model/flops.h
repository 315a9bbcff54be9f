// Arithmetic of one training step, computed from the dimensions.
#pragma once

#include <cstdint>

#include "flux/model/flux_config.h"

namespace flux::model {

/// Number of parameters.
int64_t parameter_count(const FluxConfig& config);

/// Floating point operations of the forward and backward pass of one sample (a multiply-add counts
/// two, backward twice forward): all matrix products and the two products of attention that the
/// blocks make, without recomputation.
double training_flops(const FluxConfig& config, int64_t image_tokens, int64_t text_tokens);

/// Forward operations of one block for one sample.
struct BlockFlops {
    double all;
    double last_product;  // of that, what is not made again where RecomputePolicy::keeps_results
};
/// Double blocks first, then single ones, as in make_units().
BlockFlops block_flops(const FluxConfig& config, int64_t block, int64_t image_tokens,
                       int64_t text_tokens);

}  // namespace flux::model
