// Numbers of validation timesteps as storage holds them: one rule for every kind of data set.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "flux/base/error.h"
#include "flux/flow/validation_grid.h"

namespace flux::data {

/// `shown`: what storage holds instead.
[[noreturn]] inline void fail_timestep(std::string_view shown) {
    fail("timestep {}: must be 0 .. {}, or null", shown, flow::kValidationTimesteps - 1);
}

/// The number, which a validation timestep must have. Throws Error.
inline int64_t check_timestep(int64_t number) {
    if (number < 0 || number >= flow::kValidationTimesteps) {
        fail_timestep(std::to_string(number));
    }
    return number;
}

}  // namespace flux::data
