// A parameter in its unit's flat buffer.
#pragma once

#include <ATen/core/Tensor.h>

#include "flux/units/store_layout.h"

namespace flux::units {

inline at::Tensor segment_view(const at::Tensor& flat, const Segment& segment) {
    return flat.narrow(0, segment.offset, segment.numel).view(segment.shape);
}

}  // namespace flux::units
