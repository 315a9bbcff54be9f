// The fixed times at which the validation loss is measured: every sample of a validation set names
// one of them, k, and its loss is taken at time k / 8.
#pragma once

#include <cstdint>

namespace flux::flow {

inline constexpr int64_t kValidationTimesteps = 8;

constexpr double validation_time(int64_t k) {
    return static_cast<double>(k) / static_cast<double>(kValidationTimesteps);
}

}  // namespace flux::flow
