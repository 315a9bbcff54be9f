// Small transformers: that of the mmdit_tiny fixture, which the other model fixtures start from,
// and one of any number of blocks.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "flux/model/mmdit.h"
#include "support/fixture.h"

namespace flux::test {

/// Dimensions from a fixture's "config".
model::FluxConfig config_from(const nlohmann::json& config);

/// The model with the weights `param.*` of mmdit_tiny, of twins where FLUX_TEST_TWINS is set: so
/// every test of the reference's numbers can be run on both kinds of operations.
std::unique_ptr<model::Mmdit> tiny_model(
    const Fixture& mmdit_tiny, at::ScalarType dtype = at::kFloat,
    units::RecomputePolicy policy = units::RecomputePolicy::none(), int64_t slabs = 0);

/// The published name of a parameter that the fixtures name as torchtitan does.
std::string published_name(const Fixture& mmdit_tiny, const std::string& name);

/// input.* of mmdit_tiny.
model::MmditInput tiny_input(const Fixture& mmdit_tiny);

/// flux-tiny with other numbers of blocks, and narrow: two heads of 32.
model::FluxConfig small_dimensions(int64_t depth, int64_t depth_single_blocks);

/// First values, all of them moved off zero: a fresh model predicts zero whatever it is given.
void initialize_off_zero(units::ParameterStore& parameters, uint64_t seed);

struct InputShape {
    int64_t batch = 2;
    int64_t text_tokens = 5;
    int64_t latent_side = 8;  // of the picture
    at::ScalarType dtype = at::kFloat;
};

/// Normal numbers at timestep 0.
model::MmditInput random_input(const model::FluxConfig& config, const InputShape& shape = {});

}  // namespace flux::test
