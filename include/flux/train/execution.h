// How a configuration wants the transformer computed, and what the model and the device allow.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "flux/config/job_config.h"
#include "flux/model/execution.h"

namespace flux::train {

/// As kernels.fused, model.converters and [float8] say.
model::Execution execution(const config::JobConfig& config);

/// Throws ConfigError if float8.filter_fqns names no layer, or leaves none of those that FP8 takes.
void check_float8_layers(const config::JobConfig& config, const model::FluxConfig& dimensions);

/// Throws ConfigError if the device cannot multiply in FP8 as the configuration wants it to.
void check_float8_device(const config::JobConfig& config, c10::Device device);

/// What to say after the compute dtype: which products are others, or nothing.
std::string products_text(const config::JobConfig& config, const model::FluxConfig& dimensions);

}  // namespace flux::train
