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

/// Of those, forward, for one block: of its last products, whose results a unit that runs again
/// keeps (see units::RecomputePolicy).
struct LastProductFlops {
    double double_block, single_block;
};
LastProductFlops last_product_flops(const FluxConfig& config, int64_t tokens);

}  // namespace flux::model
