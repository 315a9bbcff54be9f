// Numbers of validation timesteps as storage holds them: one rule for every kind of data set.
#pragma once

#include <cstdint>
#include <optional>
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

/// Of a sample that is validated at its own timestep. Throws Error.
inline void require_timestep(const std::optional<int64_t>& stored) {
    if (!stored) {
        fail("has no timestep, and needs one of 0 .. {}; with eval.all_timesteps none is needed",
             flow::kValidationTimesteps - 1);
    }
    check_timestep(*stored);
}

}  // namespace flux::data
