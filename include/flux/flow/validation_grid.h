// The fixed times at which the validation loss is measured: every sample of a validation set names
// one of them, k, and its loss is taken at time k / 8, or (k + 0.5) / 8.
#pragma once

#include <cstdint>

#include "flux/config/job_config.h"

namespace flux::flow {

inline constexpr int64_t kValidationTimesteps = 8;

constexpr double validation_time(int64_t k, config::TimestepGrid grid) {
    const double offset = grid == config::TimestepGrid::kMidpoints ? 0.5 : 0.0;
    return (static_cast<double>(k) + offset) / static_cast<double>(kValidationTimesteps);
}

}  // namespace flux::flow
