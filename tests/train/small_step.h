// Micro-batches for steps of small models.
#pragma once

#include <c10/core/Device.h>

#include "flux/encoders/micro_batch.h"

namespace flux::train {

struct BatchShape {
    int64_t samples = 2;
    int64_t height = 8, width = 8;  // of the latents
    int64_t text_tokens = 4;
};

/// Drawn: sample `first` and those that follow, the same on every device; "meta" gets the shapes
/// alone.
encoders::MicroBatch drawn_batch(const model::FluxConfig& config, int64_t first,
                                 const BatchShape& shape = {}, c10::Device device = at::kCPU);

}  // namespace flux::train
