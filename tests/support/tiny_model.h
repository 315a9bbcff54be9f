// The small transformer of the mmdit_tiny fixture, which the other model fixtures start from.
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

}  // namespace flux::test
