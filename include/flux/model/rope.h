// Rotary position embedding over three axes (index, row, column), tables in fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include "flux/model/flux_config.h"

namespace flux::model {

/// Rotation angles of every token, for both channels of each pair: a head x turns into
/// x * cos + swapped(x) * sin, where swapped() exchanges the channels of each pair.
struct RotaryTable {
    at::Tensor cos;  // fp32 [B or 1, 1, T, D], each cosine twice
    at::Tensor sin;  // the same of sines, the first of each pair negative
};

/// `ids`: positions [B or 1, T, 3]. The channels of a head are cut along axes_dim, one part an
/// axis; pair j of a part of width d turns by position / theta^(2j/d). Angles are computed in fp64.
RotaryTable rotary_table(const at::Tensor& ids, const FluxConfig& config);

}  // namespace flux::model
