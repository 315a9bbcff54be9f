// The dtype in which a network computes.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include "flux/config/job_config.h"

namespace flux::units {

/// `auto`: bf16 on a GPU, fp32 on the CPU.
inline c10::ScalarType compute_dtype(config::Precision choice, c10::Device device) {
    switch (choice) {
        case config::Precision::kBfloat16:
            return c10::ScalarType::BFloat16;
        case config::Precision::kFloat32:
            return c10::ScalarType::Float;
        case config::Precision::kAuto:
            break;
    }
    return device.is_cuda() ? c10::ScalarType::BFloat16 : c10::ScalarType::Float;
}

}  // namespace flux::units
