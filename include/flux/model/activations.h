// Bytes of activations that each unit of the transformer needs, from the dimensions: what
// checkpointing keeps, what autograd keeps, and the most that is alive while a unit runs backward.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <span>
#include <vector>

#include "flux/model/execution.h"
#include "flux/model/flux_config.h"
#include "flux/units/recompute.h"

namespace flux::model {

struct PassShape {
    int64_t batch = 1;
    int64_t image_tokens = 0;
    int64_t text_tokens = 0;
    at::ScalarType dtype = at::kFloat;
    bool on_gpu = false;  // attention needs other room there in backward
    Execution execution{};
};

/// With fused operations; the twins keep more.
struct UnitActivations {
    int64_t input;     // tensors of its input state that no unit before it received
    int64_t memo;      // results it leaves for its second run if it runs again in backward
    int64_t graph;     // what autograd keeps besides, from forward to backward
    int64_t forward;   // most that is alive while its last product is made, which a second run
                       // with a memo spares; 0 where backward takes more in any case
    int64_t backward;  // most that is alive while it runs backward, besides `input`: its graph,
                       // result, gradients (of its weights too) and what operations need meanwhile
    int64_t handing_over;  // alive when it is through: gradients of its weights, result, gradients
                           // of both states
};

/// In the order of make_units().
std::vector<UnitActivations> activations(const FluxConfig& config, const PassShape& shape);

/// Kept at the end of the forward pass.
int64_t kept_by_forward(const std::vector<UnitActivations>& units,
                        const units::RecomputePolicy& policy);

/// The most that is alive at any time of forward and backward. `sums`: bytes for each unit that are
/// added when it is through and stay, as the sum of its gradients does.
int64_t activation_peak(const std::vector<UnitActivations>& units,
                        const units::RecomputePolicy& policy, std::span<const int64_t> sums = {});

}  // namespace flux::model
