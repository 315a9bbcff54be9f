// Arithmetic of one training step, computed from the dimensions.
#pragma once

#include <cstdint>

#include "flux/model/flux_config.h"

namespace flux::model {

/// Number of parameters.
int64_t parameter_count(const FluxConfig& config);

/// Floating point operations of the forward and backward pass of one sample (a multiply-add counts
/// two, backward twice forward): all matrix products and the two products of attention, without
/// recomputation.
double training_flops(const FluxConfig& config, int64_t image_tokens, int64_t text_tokens);

/// Forward operations, for one sample, of the last products of one block of each kind: those that
/// are not made again where RecomputePolicy::keeps_results.
struct LastProductFlops {
    double double_block, single_block;
};
LastProductFlops last_product_flops(const FluxConfig& config, int64_t tokens);

}  // namespace flux::model
