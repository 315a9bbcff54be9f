// The Flux.1 transformer (MMDiT): a list of units run by units/unit_runner.h.
//
// Legend: B batch, Tt text tokens, Ti image tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "flux/model/blocks.h"
#include "flux/model/flux_config.h"
#include "flux/units/parameter_store.h"
#include "flux/units/recompute.h"
#include "flux/units/unit_runner.h"

namespace flux::model {

struct MmditInput {
    at::Tensor img;        // packed latents [B, Ti, in_channels]
    at::Tensor img_ids;    // [B or 1, Ti, 3]
    at::Tensor txt;        // text tokens [B, Tt, context_in_dim]
    at::Tensor txt_ids;    // [B or 1, Tt, 3]
    at::Tensor pooled;     // [B, vec_in_dim]
    at::Tensor timesteps;  // fp32 [B or 1], 0 = data, 1 = noise
    at::Tensor guidance;   // fp32 [B or 1]; needed when the config has guidance_embed, else ignored
};

class Mmdit {
public:
    Mmdit(const FluxConfig& config, const units::StoreSettings& settings,
          units::RecomputePolicy policy, const Execution& execution = {});

    /// Predicted velocity of the packed latents, fp32 [B, Ti, out_channels]; nothing is kept for a
    /// backward pass.
    at::Tensor predict(const MmditInput& input);
    /// Takes part in another process's predict() without an input of its own.
    void accompany_predict() { runner_.accompany_forward(); }

    /// The same, and backward() may follow.
    at::Tensor forward(const MmditInput& input);

    /// Adds the gradients of all parameters, given d loss / d prediction, to the store's sums.
    void backward(const at::Tensor& prediction_gradient);

    const FluxConfig& config() const { return config_; }
    /// The kind of operations it is made of, and those around it take.
    kernels::Path path() const { return path_; }
    units::ParameterStore& parameters() { return runner_.store(); }

private:
    FluxState first_state(const MmditInput& input) const;

    FluxConfig config_;
    at::ScalarType compute_dtype_;
    kernels::Path path_;
    units::UnitRunner<FluxState> runner_;
};

/// Units in the published order: embedders, double blocks, single blocks, final layer.
units::UnitRunner<FluxState>::UnitList make_units(const FluxConfig& config,
                                                  const Execution& execution = {});

}  // namespace flux::model
