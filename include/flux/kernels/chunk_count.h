// How the fused operations deal out rows: each chunk of them leaves partial sums of its own.
#pragma once

#include <c10/core/DeviceType.h>

#include <cstdint>

namespace flux::kernels {

/// Chunks of [batch, tokens] rows on such a device.
int64_t chunk_count(int64_t batch, int64_t tokens, c10::DeviceType device);

}  // namespace flux::kernels
